"""The examples of an experiment: where they come from, which classes, how they are shared out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neural_branching.config.build import build, check_keys
from neural_branching.config.identified import Identified
from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.data.sources.source import Source
from neural_branching.data.split import Split
from neural_branching.errors import InputError, each_of

# ``root`` and ``image_size`` stand here for sources to refer to.
_KEYS = {"name", "root", "classes", "superclasses", "image_size", "source", "split"}


@dataclass(frozen=True, eq=False)
class DataSpec(Identified):
    """The data of an experiment.

    Attributes:
        name: how the data set is called.
        source: reader of the examples.
        split: how examples are shared out.
        classes: every class, in label order.
        superclasses: name → classes.
        offered: class → number of training examples that a branch can learn from.
        group: the part of the configuration that all this comes from.
    """

    name: str
    source: Source
    split: Split
    classes: tuple[str, ...]
    superclasses: Mapping[str, Sequence[str]]
    offered: Mapping[str, int]
    group: Mapping[str, Any]

    @classmethod
    def of(cls, group: Mapping[str, Any], hashes: FileHashes, *, trusted: bool) -> "DataSpec":
        """Build and check the group "data" of a configuration.

        Args:
            group: plain values.
            hashes: memory of the files that a source has listed.
            trusted: as for ``build``.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        check_keys(group, _KEYS, "data", {"root", "image_size"})
        split = build(group["split"], "data.split", Split, trusted=trusted)
        source = build(group["source"], "data.source", Source, trusted=trusted)
        offered = source.class_names(hashes)
        classes = _classes(offered, group["classes"])
        counts = source.counts(classes, hashes)
        split.check(counts)
        return cls(
            name=group["name"],
            source=source,
            split=split,
            classes=classes,
            superclasses=_superclasses(group["superclasses"], offered),
            offered=split.training(counts),
            group=group,
        )

    @property
    def described(self) -> Any:
        """What decides the examples and their split, as far as settings tell."""
        return self.group

    @property
    def input(self) -> InputAdapter:
        """What an example is."""
        return self.source.input


def _superclasses(given: object, offered: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Superclasses as the configuration has them.

    Raises:
        InputError: unless they are lists of classes of the source by name.
    """
    named = given or {}
    if not isinstance(named, Mapping):
        raise InputError(f"data.superclasses is {given!r}: it must be {{NAME: [CLASS, CLASS]}}.")
    for name, classes in named.items():
        if isinstance(classes, str) or not isinstance(classes, Sequence):
            raise InputError(f"data.superclasses.{name} is {classes!r}: it must be a list of class names.")
        each_of(classes, offered, f"a class in data.superclasses.{name}")
    return named


def _classes(offered: tuple[str, ...], chosen: Sequence[str] | None) -> tuple[str, ...]:
    """The classes of a data set in their order: those chosen, or all that its source offers.

    Raises:
        InputError: unless the choice is a list of at least two different classes of the source, and for
            a class that no configuration can name.
    """
    for name in offered:
        if "${" in name:
            raise InputError(
                f"A class is called {name!r}, which configurations take for an interpolation: rename it."
            )
    if chosen is None:
        return offered
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        raise InputError(f"data.classes is {chosen!r}: it must be a list of class names, as in [a,b].")
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise InputError(f"data.classes is {list(chosen)}: it must name at least two different classes.")
    return tuple(each_of(chosen, offered, "a class in data.classes"))
