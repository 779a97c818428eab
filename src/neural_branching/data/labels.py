"""What a parent learns to tell apart: classes or superclasses, of all the examples or of some."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from neural_branching.errors import ArgumentError, InputError, each_of, one_of


class Labels:
    """The labels of a parent.

    Args:
        kind: "fine" (one label per class), "coarse" (one per superclass), or "none".
        classes: "all", "others" (all that the subset does not have: the branch then adds classes
            that the parent has never seen) or a list of class names.
        known: every class of the data set, in its order.
        subset: the classes of the branch.
        superclasses: name → classes, as the data set's configuration gives it.

    Attributes:
        of: class → label, for the classes whose examples the parent is trained on.
        names: the labels in the order of the parent's logits.

    Raises:
        InputError: for an unknown kind or class, a single label, and, if coarse, a class of no
            superclass or of several.
    """

    def __init__(
        self,
        kind: str,
        classes: str | Sequence[str],
        known: Sequence[str],
        subset: Sequence[str],
        superclasses: Mapping[str, Sequence[str]],
    ) -> None:
        self.kind = one_of(kind, ("fine", "coarse", "none"), "labels")
        if kind == "none":
            chosen = []
        elif isinstance(classes, str):
            one_of(classes, ("all", "others"), "classes")
            left_out = set() if classes == "all" else set(subset)
            chosen = [name for name in known if name not in left_out]
        elif not isinstance(classes, Sequence):
            raise ArgumentError(
                "classes", f"is {classes!r}: it must be all, others or a list of class names."
            )
        else:
            asked = set(each_of(classes, known, "classes (each of them)"))
            chosen = [name for name in known if name in asked]
        self.of = {name: name if kind == "fine" else _superclass(name, superclasses) for name in chosen}
        order, present = known if kind == "fine" else superclasses, set(self.of.values())
        self.names = tuple(name for name in order if name in present)
        self._index = {name: index for index, name in enumerate(self.names)}
        if kind != "none" and len(self.names) < 2:
            found = ", ".join(self.names) or "nothing"
            raise ArgumentError(
                "classes", f"leaves the parent with {found} to tell apart: it needs at least two labels."
            )

    def targets(self, classes: Sequence[str]) -> NDArray[np.int64]:
        """Index of each class's label, int64; −1 for classes that the parent is not trained on."""
        return np.array([self._index[self.of[name]] if name in self.of else -1 for name in classes])

    def columns(self, classes: Sequence[str]) -> list[int] | None:
        """The parent's logits of some classes; None if it does not know each of them by itself."""
        if self.kind == "coarse" or not set(classes) <= self.of.keys():
            return None
        return [self._index[name] for name in classes]

    def columns_of(self, groups: Sequence[Sequence[str]]) -> list[list[int]] | None:
        """The parent's logits whose probabilities add up to those of groups of classes.

        None if it does not know each of the classes, or has one label for classes of two groups.
        """
        if not {name for group in groups for name in group} <= self.of.keys():
            return None
        labels = [{self.of[name] for name in group} for group in groups]
        if len(set().union(*labels)) < sum(map(len, labels)):
            return None
        return [sorted(self._index[label] for label in mine) for mine in labels]


def _superclass(name: str, superclasses: Mapping[str, Sequence[str]]) -> str:
    found = [superclass for superclass, members in superclasses.items() if name in members]
    if len(found) != 1:
        state = f"to {' and '.join(found)}" if found else "to none"
        raise InputError(
            f"parent.labels is 'coarse', and class {name!r} belongs {state} of data.superclasses: "
            "it must belong to exactly one."
        )
    return found[0]
