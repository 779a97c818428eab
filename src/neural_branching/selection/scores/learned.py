"""Scores that learn from held-out answers: a temperature, or whether an answer will be right."""

from functools import partial
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from neural_branching.errors import InputError, one_of
from neural_branching.selection.answers import Answers
from neural_branching.selection.array_types import Float64, Int64
from neural_branching.selection.arrays import Floats, as_logits, by_blocks
from neural_branching.selection.scores import formulas
from neural_branching.selection.scores.score import Score, Scorer

# Answers that are all right ask for temperature 0, logits that say nothing for an infinite one.
COLDEST, HOTTEST = 0.02, 50.0


def fit_temperature(logits: ArrayLike, targets: Int64[np.ndarray, " n"]) -> float:
    """Temperature of least negative log-likelihood (Guo et al., 2017), within [0.02, 50].

    The likelihood is convex in 1/temperature, so that the minimum is the only one.

    Args:
        logits: finite reals, shape (n, classes).
        targets: class indices.

    Raises:
        ValueError: for logits that are no matrix or not finite.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and not every run fits one

    values = as_logits(logits)
    # Shifting an example's logits changes no probability; it keeps the exponentials small.
    values = values - values.max(axis=1, keepdims=True)
    chosen = values[np.arange(len(values)), targets]

    def loss(log_inverse: float) -> float:
        inverse = np.exp(log_inverse)
        partition = by_blocks(lambda some: logsumexp(some * inverse, axis=1), values)
        return float(np.mean(partition - chosen * inverse))

    bounds = -np.log(HOTTEST), -np.log(COLDEST)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return float(np.exp(-found.x))


class Temperature(Score):
    """Largest softmax probability after temperature scaling (Guo et al., 2017).

    Args:
        split: the split that the temperature is learned from: half of "calibration"; or "validation", which
            leaves all of that to the threshold, and was looked at before to stop the training.

    Raises:
        InputError: for any other split.
    """

    kind: ClassVar[str] = "temperature"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    learns_from: Literal["train", "validation", "calibration"] | None = "calibration"

    def __init__(self, split: Literal["calibration", "validation"] = "calibration") -> None:
        one_of(split, ("calibration", "validation"), "split")
        self.split = self.learns_from = split

    def fit(self, answers: Answers | None) -> Scorer:
        """Learn the temperature from held-out answers."""
        assert answers is not None
        temperature = fit_temperature(answers.logits, answers.targets)
        formula = partial(formulas.max_softmax, temperature=temperature)
        return Scorer.of_logits(formula, {"temperature": temperature, "n": len(answers)})


class Correctness(Score):
    """Learned probability that the answer is right: a logistic regression on five simpler scores.

    Its inputs are log-odds of the largest softmax probability, margin, negative entropy, largest
    logit and energy, standardised; its targets say which held-out answers were right (after
    Corbière et al., 2019, who train a network on the same question).
    """

    kind: ClassVar[str] = "correctness"
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    learns_from = "calibration"

    def fit(self, answers: Answers | None) -> Scorer:
        """Learn from held-out answers.

        Raises:
            InputError: if all of them are right, or all wrong.
        """
        from sklearn.linear_model import LogisticRegression  # slow to import, and one score needs it
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        assert answers is not None
        right = ~answers.error
        if right.all() or not right.any():
            raise InputError(
                f"score={self.kind} learns from right and wrong answers, but all {len(answers)} held-out "
                f"answers are {'right' if right.all() else 'wrong'}: choose another score."
            )
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(_inputs(answers), right)

        def score(given: Answers) -> Float64[np.ndarray, " n"]:
            probability: Floats = model.predict_proba(_inputs(given))[:, 1]
            return probability

        return Scorer(score, {"n": len(answers), "wrong": int((~right).sum())})


def _inputs(answers: Answers) -> Float64[np.ndarray, "n 5"]:
    logits = as_logits(answers.logits)
    order = np.sort(logits, axis=1)
    # Log-odds of the most probable class: finite where 1 − p is not.
    odds = order[:, -1] - logsumexp(order[:, :-1], axis=1)
    others = [formulas.margin, formulas.negative_entropy, formulas.max_logit, formulas.energy]
    return np.column_stack([odds, *(formula(logits) for formula in others)])
