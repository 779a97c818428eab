"""The classes that a branch specialises on."""

from collections.abc import Mapping, Sequence

from neural_branching.errors import ArgumentError, InputError, each_of, folder_name, one_of


class Subset:
    """A named list of classes, given directly or as a superclass of the data set.

    Args:
        name: how the subset is called in tables and folders.
        classes: class names in any order, or "all".
        superclass: a name in ``data.superclasses``, instead of ``classes``.

    Raises:
        InputError: unless exactly one of ``classes`` and ``superclass`` is given, with at least two
            different classes.
    """

    def __init__(
        self, name: str, classes: Sequence[str] | None = None, superclass: str | None = None
    ) -> None:
        if (classes is None) == (superclass is None):
            raise InputError(f"The subset {name!r} needs either subset.classes or subset.superclass.")
        self.name = folder_name(name, "name")
        self.superclass = superclass
        if (
            classes != "all"
            and classes is not None
            and (isinstance(classes, str) or not isinstance(classes, Sequence))
        ):
            raise ArgumentError("classes", f"is {classes!r}: it must be a list of class names, as in [a,b].")
        self.classes = classes if classes is None or classes == "all" else _checked(list(classes), name)

    def resolve(self, known: Sequence[str], superclasses: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Class names of this subset in the data set's order.

        Args:
            known: every class of the data set, in its order.
            superclasses: name → classes, as the data set's configuration gives it.

        Raises:
            InputError: if a class or the superclass is unknown (with the nearest name), or fewer than
                two of its classes are in the data set.
        """
        if self.classes == "all":
            chosen = _checked(list(known), self.name)
        elif self.classes is None:
            if not superclasses:
                raise ArgumentError(
                    "subset.superclass",
                    f"is {self.superclass!r}, and the data set has no superclasses: name them, as in "
                    "data.superclasses={NAME:[CLASS,CLASS]}, or choose classes, as in subset=custom "
                    "subset.classes=[CLASS,CLASS].",
                )
            name = one_of(self.superclass, superclasses, "subset.superclass")
            offered = set(known)
            chosen = _checked([member for member in superclasses[name] if member in offered], self.name)
        else:
            chosen = each_of(self.classes, known, f"a class of subset {self.name!r}")
        mine = set(chosen)
        return tuple(member for member in known if member in mine)


def _checked(classes: list[str], name: str) -> list[str]:
    if len(set(classes)) != len(classes):
        twice = next(member for member in classes if classes.count(member) > 1)
        raise InputError(f"The subset {name!r} names the class {twice!r} twice.")
    if len(classes) < 2:
        raise InputError(
            f"The subset {name!r} holds {', '.join(map(str, classes)) or 'no class'}: "
            "a branch needs at least two classes to choose between."
        )
    return classes
