"""Acceptance thresholds: rules that turn held-out scores and errors into one number.

A rule is fitted on the calibration split: never on test, never on what a model trained or stopped
on. It accepts iff score ≥ threshold; ``inf`` accepts nothing and is a legal result.
"""

from neural_branching.selection.thresholds.guaranteed import FixedSequence, Sgr
from neural_branching.selection.thresholds.on_average import Conformal, FalseAccept
from neural_branching.selection.thresholds.plain import Coverage, Fixed, Risk
from neural_branching.selection.thresholds.random_walk import RandomWalk

__all__ = ["Conformal", "Coverage", "FalseAccept", "Fixed", "FixedSequence", "RandomWalk", "Risk", "Sgr"]
