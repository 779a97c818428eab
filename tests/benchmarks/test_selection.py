"""Risk–coverage curves beside those of other libraries."""

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_curve
from torchmetrics.functional.classification import binary_precision_recall_curve

from neural_branching.selection import risk_coverage_curve

pytestmark = pytest.mark.benchmark


def peers() -> dict[str, Callable[[np.ndarray, np.ndarray], object]]:
    """Curves of the same information in well-known libraries: precision is selective accuracy."""
    found: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
        "scikit-learn's precision_recall_curve": lambda score, error: precision_recall_curve(~error, score),
        "torchmetrics' binary_precision_recall_curve": lambda score, error: binary_precision_recall_curve(
            torch.from_numpy(score), torch.from_numpy(~error).long()
        ),
    }
    if importlib.util.find_spec("torch_uncertainty"):
        from torch_uncertainty.metrics.classification import AURC

        def area(score: np.ndarray, error: np.ndarray) -> object:
            metric = AURC()
            probabilities = torch.from_numpy(np.column_stack([1 - score, score]))
            metric.update(probabilities, torch.from_numpy(~error).long())
            return metric.compute()

        found["torch-uncertainty's AURC"] = area
    return found


@pytest.mark.parametrize("peer", peers())
def test_risk_coverage_curve(peer: str, side_by_side, one_thread) -> None:
    generator = np.random.default_rng(0)
    score = generator.uniform(0.5, 1, 50_000)
    error, thresholds = generator.random(50_000) > score, np.linspace(0.5, 1, 1000)
    precision, _, at = precision_recall_curve(~error, score)
    curve = risk_coverage_curve(score, error)
    np.testing.assert_array_equal(at, curve.threshold)
    np.testing.assert_allclose(precision[:-1], 1 - curve.selective_risk, atol=1e-12)
    side_by_side(
        "risk–coverage curve of 50,000 samples, its area and 1000 thresholds",
        f"{peer}, the curve alone",
        lambda: peers()[peer](score, error),
        lambda: (risk_coverage_curve(score, error).at(thresholds), curve.aurc()),
    )


def test_a_thousand_thresholds(side_by_side, one_thread) -> None:
    generator = np.random.default_rng(0)
    score = generator.uniform(0.5, 1, 3000)
    error, thresholds = generator.random(3000) > score, np.linspace(0.5, 1, 1000)

    def one_by_one() -> list[tuple[int, int]]:
        found = []
        for threshold in thresholds:
            accepted = score >= threshold
            found.append((accepted.sum(), (accepted & error).sum()))
        return found

    accepted, wrong = risk_coverage_curve(score, error).at(thresholds)
    assert one_by_one() == list(zip(accepted, wrong, strict=True))
    side_by_side(
        "accepted images and errors at 1000 thresholds over 3,000 samples, from the scores",
        "NumPy, one threshold at a time",
        one_by_one,
        lambda: risk_coverage_curve(score, error).at(thresholds),
    )
