"""What a parent answers, and what its own probabilities say of each answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neural_branching.networks.generation import Generated
from neural_branching.networks.logit_lens import NextTokens
from neural_branching.selection.array_types import Bool, Float, Float64, Int64
from neural_branching.selection.scores import formulas


@dataclass(frozen=True)
class ParentAnswers:
    """Answers to all rows of a table.

    Attributes:
        right: whether each is.
        answers: equal for equal answers.
        own: the parent's own confidence, its log-odds or log-probability; higher is surer.
        features: name → another number that its probabilities give.
        logits: of a parent that classifies, for its temperature; None of written answers.
        targets: index of the right logit, −1 where there is none; of written answers all −1.
    """

    right: Bool[np.ndarray, " n"]
    answers: Int64[np.ndarray, " n"]
    own: Float64[np.ndarray, " n"]
    features: Mapping[str, Float64[np.ndarray, " n"]]
    logits: Float64[np.ndarray, "n labels"] | None
    targets: Int64[np.ndarray, " n"]

    @property
    def name(self) -> str:
        """How the parent's own confidence is called."""
        return "log-probability" if self.logits is None else "max softmax"

    @classmethod
    def of_logits(
        cls,
        logits: Float[np.ndarray, "n labels"],
        right: Bool[np.ndarray, " n"],
        targets: Int64[np.ndarray, " n"],
    ) -> "ParentAnswers":
        """Of a classifier: the likeliest label, its log-odds, margin and entropy."""
        values = np.asarray(logits, np.float64)
        odds = np.asarray(formulas.log_odds(values))
        features = {
            "log-odds": odds,
            "margin": np.asarray(formulas.margin(values)),
            "entropy": -np.asarray(formulas.negative_entropy(values)),
        }
        return cls(right, values.argmax(axis=1), odds, features, values, targets)

    @classmethod
    def of_texts(cls, written: Sequence[Generated], right: Bool[np.ndarray, " n"]) -> "ParentAnswers":
        """Of a language model: the log-probability of the whole answer, and of its tokens."""
        texts = [one.text for one in written]
        total = np.array([sum(one.log_probability) for one in written])
        features = {
            "log-probability": total,
            "mean over tokens": np.array([float(np.mean(one.log_probability)) for one in written]),
            "least of a token": np.array([min(one.log_probability) for one in written]),
            "first token": np.array([one.log_probability[0] for one in written]),
            "margin of the first": np.array([one.margin[0] for one in written]),
            "entropy of the first": np.array([one.entropy[0] for one in written]),
            "mean entropy": np.array([float(np.mean(one.entropy)) for one in written]),
        }
        answers = np.unique(texts, return_inverse=True)[1].astype(np.int64)
        return cls(right, answers, total, features, None, np.full(len(texts), -1))


def agreeing_tokens(read: NextTokens, final: NextTokens) -> ParentAnswers:
    """The tokens that a stage would write, right where they are the model's."""
    features = {
        "log-probability": read.log_probability,
        "margin": read.margin,
        "entropy": read.entropy,
    }
    right = read.token == final.token
    none = np.full(len(right), -1)
    return ParentAnswers(right, read.token, read.log_probability, features, None, none)


def agreeing(readout: Float[np.ndarray, "n labels"], final: Float[np.ndarray, "n labels"]) -> ParentAnswers:
    """The answers of a stage's readout, right where they are the parent's."""
    answers = np.asarray(final).argmax(axis=1)
    return ParentAnswers.of_logits(readout, np.asarray(readout).argmax(axis=1) == answers, answers)
