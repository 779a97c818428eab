"""What the packages of a Debian system are said to be good for, by section."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

import numpy as np

from neural_branching.data.hashes import FileHashes
from neural_branching.data.inputs.text_inputs import TextInputs, packed
from neural_branching.data.sources.source import Counts, Examples, Source
from neural_branching.data.split import SPLITS
from neural_branching.errors import ArgumentError, InputError, whole

RECIPE = 1
LENGTH = 128  # bytes of a description, which is one line; the few that are longer are left out
COMMAND = ("apt-cache", "dumpavail")


class PackageDescriptions(Source):
    """One-line descriptions of the packages that ``apt-cache dumpavail`` lists; a class is a section.

    Packages made of one source say much the same, so that one of each is taken, the first by name; of each
    section those with the smallest checksums.

    Args:
        sections: such as games, sound, graphics.
        per_section: descriptions of each.

    Raises:
        InputError: for fewer than two sections, or no number of descriptions.
    """

    def __init__(self, sections: Sequence[str], per_section: int) -> None:
        if isinstance(sections, str) or len(set(sections)) < 2 or len(set(sections)) < len(sections):
            raise ArgumentError("sections", f"is {sections!r}: it must list at least two different sections.")
        self.sections = tuple(str(name) for name in sections)
        self.per_section = whole(per_section, "per_section", 1)

    @property
    def input(self) -> TextInputs:
        """Texts of at most ``LENGTH`` bytes; see ``Source.input``."""
        return TextInputs(LENGTH)

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """The sections; see ``Source.class_names``."""
        return self.sections

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> Counts:
        """As many of each as were asked for; see ``Source.counts``."""
        return {name: {"train": self.per_section} for name in classes}

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """Checksum of the descriptions; see ``Source.signature``.

        Raises:
            InputError: if the system has no apt, or too few packages of a section.
        """
        chosen = {name: self._chosen[name] for name in classes}
        return {"recipe": RECIPE, "descriptions": sha256(repr(chosen).encode()).hexdigest()}

    def read(self, classes: Sequence[str]) -> Examples:
        """The descriptions; see ``Source.read``."""
        found = [(label, *one) for label, name in enumerate(classes) for one in self._chosen[name]]
        return Examples(
            content=packed([text for _, _, text in found], LENGTH),
            labels=np.array([label for label, _, _ in found], dtype=np.int64),
            split=np.full(len(found), SPLITS.index("train"), dtype=np.int8),
            names=[name for _, name, _ in found],
        )

    @cached_property
    def _chosen(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Section → name and description of its packages.

        Raises:
            InputError: if there are not enough.
        """
        of_source: dict[tuple[str, str], tuple[str, str]] = {}
        for name, section, source, text in _packages():
            if section in self.sections and 0 < len(text.encode()) <= LENGTH:
                key = section, source
                of_source[key] = min(of_source.get(key, (name, text)), (name, text))
        found: dict[str, list[tuple[str, str]]] = {section: [] for section in self.sections}
        for (section, _), one in of_source.items():
            found[section].append(one)
        for section, some in found.items():
            if len(some) < self.per_section:
                raise InputError(
                    f"apt-cache lists {len(some)} descriptions of section {section!r}, and "
                    f"data.source.per_section is {self.per_section}: lower it."
                )
            some.sort(key=lambda one: sha256(repr(one).encode()).digest())
        return {section: some[: self.per_section] for section, some in found.items()}


@lru_cache(maxsize=1)  # it takes seconds, and every job of a sweep asks
def _packages() -> Sequence[tuple[str, str, str, str]]:
    """Name, section, source and one-line description of every package.

    Raises:
        InputError: if there is no apt.
    """
    if shutil.which(COMMAND[0]) is None:
        raise InputError(
            "Package descriptions come from apt-cache, which this system does not have: run it on Debian or "
            "Ubuntu, or choose data=text with a file of your own."
        )
    done = subprocess.run(COMMAND, capture_output=True, check=False)
    found = []
    for block in done.stdout.decode("utf-8", "replace").split("\n\n"):
        lines = (line.partition(": ") for line in block.split("\n") if not line.startswith(" "))
        fields = {name: value for name, _, value in lines}
        if name := fields.get("Package"):
            source = fields.get("Source", name).partition(" ")[0]
            found.append((name, fields.get("Section", ""), source, fields.get("Description", "")))
    return found
