"""What a branch learns of its parent's answers, in place of the label."""

from typing import ClassVar

from neural_branching.errors import InputError
from neural_branching.labs.self_evaluation.generation_spec import QUESTION


class Target:
    """A question with two answers, wrong or right, about what the parent says.

    Attributes:
        kind: its name in results.
        phrase: what "right" means, in a few words.
    """

    kind: ClassVar[str]
    phrase: ClassVar[str]

    def check(self, *, classifies: bool, disjoint: bool, branch_after: str, readout: str) -> None:
        """Refuse a parent that cannot be asked this.

        Args:
            classifies: whether the parent gives logits of the labels, or writes its answers.
            disjoint: whether there are training examples for the parent and others for branches.
            branch_after: where a branch looks at what is written.
            readout: kind of the branch point's readout.

        Raises:
            InputError: if it cannot.
        """


class ParentCorrect(Target):
    """Is the parent's own answer right? The largest of its logits, or what it writes and a grader accepts."""

    kind: ClassVar[str] = "parent_correct"
    phrase: ClassVar[str] = "the parent's answer is right"


class AgreesWithFinal(Target):
    """Is what a stage says what the parent will say? A readout of the stage answers for it.

    Of a parent that classifies the readout is a branch like any other, that learns the labels from the
    parent's own training examples; whether it agrees is learned from examples that neither has seen. Of a
    language model it is the model's own head (``LogitLens``), and what has to agree is the first token of the
    answer, which follows the question's last.
    """

    kind: ClassVar[str] = "agrees_with_final"
    phrase: ClassVar[str] = "the stage agrees with the parent's answer"

    def check(self, *, classifies: bool, disjoint: bool, branch_after: str, readout: str) -> None:
        """See ``Target.check``."""
        if classifies and not disjoint:
            raise InputError(
                "target=agrees_with_final takes examples for the readouts and others for the branches: write "
                "data.split.disjoint=true."
            )
        if not classifies and branch_after != QUESTION:
            raise InputError(
                "target=agrees_with_final asks what a stage would begin to answer, before anything is "
                f"written, and generation.branch_after is {branch_after!r}: write "
                f"generation.branch_after={QUESTION}."
            )
        if not classifies and readout not in ("auto", "last_token"):
            raise InputError(
                f"branch_point.readout is {readout!r}: target=agrees_with_final reads the last token of a "
                "question, so that it must be auto or last_token."
            )
