"""What a branch learns of its parent's answers, in place of the label."""

from typing import ClassVar

from neural_branching.errors import InputError


class Target:
    """A question with two answers, wrong or right, about what the parent says.

    Attributes:
        kind: its name in results.
        phrase: what "right" means, in a few words.
    """

    kind: ClassVar[str]
    phrase: ClassVar[str]

    def check(self, *, classifies: bool, disjoint: bool) -> None:
        """Refuse a parent that cannot be asked this.

        Args:
            classifies: whether the parent gives logits of the labels.
            disjoint: whether there are training examples for the parent and others for branches.

        Raises:
            InputError: if it cannot.
        """


class ParentCorrect(Target):
    """Is the parent's own answer right? The largest of its logits, or what it writes and a grader accepts."""

    kind: ClassVar[str] = "parent_correct"
    phrase: ClassVar[str] = "the parent's answer is right"


class AgreesWithFinal(Target):
    """Is what a stage says what the parent will say? A readout of the stage answers for it.

    The readout is a branch like any other, that learns the labels from the parent's own training examples;
    whether it agrees is learned from examples that neither has seen.
    """

    kind: ClassVar[str] = "agrees_with_final"
    phrase: ClassVar[str] = "the stage agrees with the parent's answer"

    def check(self, *, classifies: bool, disjoint: bool) -> None:
        """See ``Target.check``."""
        if not classifies:
            raise InputError(
                "target=agrees_with_final compares readouts of stages with the parent's logits, and this "
                "parent gives none: choose target=parent_correct or another parent."
            )
        if not disjoint:
            raise InputError(
                "target=agrees_with_final takes examples for the readouts and others for the branches: write "
                "data.split.disjoint=true."
            )
