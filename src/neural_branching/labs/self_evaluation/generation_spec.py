"""How a language model is asked, and where a branch looks at what it wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neural_branching.config.build import check_keys
from neural_branching.errors import InputError, one_of, whole

ANSWER, QUESTION = "answer", "question"


@dataclass(frozen=True)
class GenerationSpec:
    """How a language model is asked. Parents that classify are not asked in words.

    Attributes:
        shots: questions with their answers that stand before each question, [[question, answer], …].
        tokens: most tokens of an answer, which ends with its line.
        branch_after: where a branch looks, at the last token of the "answer" or of the "question".
    """

    shots: tuple[tuple[str, str], ...]
    tokens: int
    branch_after: str

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> "GenerationSpec":
        """Check the node "generation" of a configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        check_keys(group, {"shots", "tokens", "branch_after"}, "generation")
        return cls(
            shots=tuple(_shot(one) for one in _listed(group["shots"])),
            tokens=whole(group["tokens"], "generation.tokens", 1),
            branch_after=one_of(group["branch_after"], (ANSWER, QUESTION), "generation.branch_after"),
        )

    def prompt(self, question: str) -> str:
        """What the model is to continue."""
        before = "".join(f"Q: {asked}\nA: {answered}\n\n" for asked, answered in self.shots)
        return f"{before}Q: {question}\nA:"

    def seen(self, question: str, answer: str) -> str:
        """The text that a branch sees the last token of."""
        prompt = self.prompt(question)
        return f"{prompt} {answer}" if answer and self.branch_after == ANSWER else prompt


def _listed(shots: object) -> Sequence[Any]:
    if isinstance(shots, str) or not isinstance(shots, Sequence):
        raise InputError(f"generation.shots is {shots!r}: it must be a list of [QUESTION, ANSWER].")
    return shots


def _shot(one: Any) -> tuple[str, str]:
    pair = tuple(one) if isinstance(one, Sequence) and not isinstance(one, str) else ()
    if len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
        raise InputError(f"generation.shots has {one!r}: each must be [QUESTION, ANSWER].")
    return pair[0], pair[1]
