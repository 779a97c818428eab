"""Acceptance thresholds: rules that turn held-out scores and errors into one number.

A rule is fitted on the calibration split: never on test, never on what a model trained or stopped
on. It accepts iff score ≥ threshold; ``inf`` accepts nothing and is a legal result.
"""
