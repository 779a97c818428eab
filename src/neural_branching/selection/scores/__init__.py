"""Confidence scores: one finite real per answer, higher = more confident."""

from neural_branching.selection.scores.from_activations import (
    Mahalanobis,
    NearestNeighbours,
    RelativeMahalanobis,
)
from neural_branching.selection.scores.from_logits import (
    Energy,
    Margin,
    MaxLogit,
    MaxSoftmax,
    NegativeEntropy,
)
from neural_branching.selection.scores.learned import Correctness, Temperature

__all__ = [
    "Correctness",
    "Energy",
    "Mahalanobis",
    "Margin",
    "MaxLogit",
    "MaxSoftmax",
    "NearestNeighbours",
    "NegativeEntropy",
    "RelativeMahalanobis",
    "Temperature",
]
