"""Scores that measure how far an example's activations lie from those of the training examples."""

from typing import ClassVar

import numpy as np

from neural_branching.errors import InputError, whole
from neural_branching.selection.answers import Answers
from neural_branching.selection.array_types import Float, Float64, Int64
from neural_branching.selection.arrays import Floats
from neural_branching.selection.scores.score import INFINITY, Score, Scorer


class Mahalanobis(Score):
    """Negative squared Mahalanobis distance to the nearest class mean (Lee et al., 2018).

    Class means and one shared covariance, shrunk after Ledoit & Wolf (2004), of the training
    activations at the branch point.
    """

    kind: ClassVar[str] = "mahalanobis"
    bounds: ClassVar[tuple[float, float]] = (-INFINITY, 0.0)
    learns_from = "train"
    asks_activations = True

    def fit(self, answers: Answers | None) -> Scorer:
        """Learn means and covariance from the training split.

        Raises:
            InputError: if the training activations do not vary.
        """
        assert answers is not None
        nearest = _nearest_mean(answers, answers.targets)
        return Scorer(lambda given: -nearest(given), {"n": len(answers)})


class RelativeMahalanobis(Score):
    """Mahalanobis score less that of one Gaussian for all classes (Ren et al., 2021)."""

    kind: ClassVar[str] = "relative_mahalanobis"
    bounds: ClassVar[tuple[float, float]] = (-INFINITY, INFINITY)
    learns_from = "train"
    asks_activations = True

    def fit(self, answers: Answers | None) -> Scorer:
        """Learn both models from the training split.

        Raises:
            InputError: if the training activations do not vary.
        """
        assert answers is not None
        nearest = _nearest_mean(answers, answers.targets)
        background = _nearest_mean(answers, np.zeros_like(answers.targets))
        return Scorer(lambda given: background(given) - nearest(given), {"n": len(answers)})


class NearestNeighbours(Score):
    """Negative distance to the k-th nearest training example (Sun et al., 2022).

    Activations at the branch point are scaled to length 1, so that distances lie within [0, 2].

    Args:
        k: which neighbour, at least 1; the last one where there are fewer training examples.

    Raises:
        InputError: for anything else.
    """

    kind: ClassVar[str] = "knn"
    bounds: ClassVar[tuple[float, float]] = (-2.0, 0.0)
    learns_from = "train"
    asks_activations = True

    def __init__(self, k: int = 10) -> None:
        self.k = whole(k, "k", 1)

    def __str__(self) -> str:
        return f"{self.kind} {self.k}"

    def fit(self, answers: Answers | None) -> Scorer:
        """Remember the activations of the training split."""
        from sklearn.neighbors import NearestNeighbors  # slow to import, and few scores need it

        assert answers is not None
        k = min(self.k, len(answers))
        index = NearestNeighbors(n_neighbors=k).fit(_unit(answers.activations))

        def score(given: Answers) -> Float64[np.ndarray, " n"]:
            distances, _ = index.kneighbors(_unit(given.activations))
            # Rounding may put opposite vectors a bit farther apart than 2.
            negative: Floats = -np.minimum(distances[:, -1].astype(np.float64), 2)
            return negative

        return Scorer(score, {"n": len(answers)})


class _Nearest:
    """Squared Mahalanobis distance to the nearest of some means, under their shared covariance."""

    def __init__(
        self, means: Float64[np.ndarray, "groups width"], covariance: Float64[np.ndarray, "width width"]
    ) -> None:
        # d² = ‖L⁻¹(x − μ)‖² with L Lᵀ the covariance.
        self.root = np.linalg.inv(np.linalg.cholesky(covariance)).T
        self.means = means @ self.root

    def __call__(self, answers: Answers) -> Float64[np.ndarray, " n"]:
        projected = answers.activations.astype(np.float64) @ self.root
        distances = [np.square(projected - mean).sum(axis=1) for mean in self.means]
        nearest: Floats = np.min(distances, axis=0)
        return nearest


def _nearest_mean(answers: Answers, groups: Int64[np.ndarray, " n"]) -> _Nearest:
    from sklearn.covariance import LedoitWolf  # slow to import, and few scores need it

    activations = answers.activations.astype(np.float64)
    labels = np.unique(groups)
    means = np.stack([activations[groups == label].mean(axis=0) for label in labels])
    centred = activations - means[np.searchsorted(labels, groups)]
    if not centred.any():
        raise InputError(
            f"Mahalanobis scores need activations that vary: all {len(answers)} training examples of a class "
            "have the same vector at this branch point."
        )
    covariance = LedoitWolf(assume_centered=True, store_precision=False).fit(centred).covariance_
    # Deviations of one length along one axis are not shrunk, and their covariance has no inverse.
    floor = 1e-9 * np.trace(covariance) / len(covariance)
    return _Nearest(means, covariance + floor * np.eye(len(covariance)))


def _unit(activations: Float[np.ndarray, "n width"]) -> Float64[np.ndarray, "n width"]:
    vectors = activations.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.where(lengths > 0, lengths, 1)
    return unit
