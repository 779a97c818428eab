"""Activations that somebody else computed, in files of vectors."""

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from neural_branching.data.hashes import FileHashes, stamps_of
from neural_branching.data.inputs.vector_inputs import VectorInputs
from neural_branching.data.sources.source import Counts, Examples, Source, root_folder
from neural_branching.data.split import SPLITS
from neural_branching.data.vector_file import VectorFile
from neural_branching.errors import InputError

RECIPE = 1


class Vectors(Source):
    """One matrix of floating-point numbers (rows, length) per stage, and a label for each row.

    | place                | a matrix                            | one value per row               |
    |----------------------|-------------------------------------|---------------------------------|
    | ``FILE.safetensors`` | tensor NAME                         | tensors labels, groups, splits  |
    | folder of ``.npy``   | ``NAME.npy``                        | ``labels.npy`` and so on        |
    | ``FILE.parquet``     | list column NAME, or NAME.0, NAME.1 | columns labels, groups, splits  |

    Matrices become float32 and are the stages, ordered by name with numbers as numbers (layer2 before
    layer10). One that is called ``logits`` holds the parent's logits and comes last: a column for each class,
    in the order of the classes.

    ``labels`` are whole numbers from 0 or text (not in safetensors). ``classes`` names them, a JSON list of
    text: in the metadata of a safetensors or a parquet file, in ``classes.json`` of a folder. Without it
    classes are called by their text, sorted, or class_0, class_1, …

    ``groups`` (optional; whole numbers or text): rows of a group stay in one split. ``splits`` (optional;
    train, validation, calibration, test, or 0 to 3): splits that the file has are taken as they are, and
    the others are drawn from its rows of "train".

    Args:
        root: the file or the folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root_folder(root)

    @cached_property
    def _file(self) -> VectorFile:
        file = VectorFile(self.root)
        logits = file.stages.get("logits")
        if logits not in (None, len(file.classes)):
            raise InputError(
                f"{self.root} has {logits} columns of 'logits' and {len(file.classes)} classes: a matrix of "
                "this name has a column for each class; call it otherwise."
            )
        self._stamps = self._now(file)
        return file

    def _now(self, file: VectorFile) -> Any:
        return stamps_of(self._folder, self._names(file))

    @property
    def _folder(self) -> Any:
        return self.root if self.root.is_dir() else self.root.parent

    def _names(self, file: VectorFile) -> list[str]:
        return [one.name for one in file.files]

    @property
    def input(self) -> VectorInputs:
        """Vectors of the file's stages; see ``Source.input``."""
        return VectorInputs(self._file.stages)

    def class_names(self, hashes: FileHashes) -> tuple[str, ...]:
        """Names as the file gives them; see ``Source.class_names``."""
        return self._file.classes

    def counts(self, classes: Sequence[str], hashes: FileHashes) -> Counts:
        """Rows by class and by the file's own splits; see ``Source.counts``.

        Raises:
            InputError: for some of the classes, where the file has the logits of all.
        """
        file = self._file
        if "logits" in file.stages and tuple(classes) != file.classes:
            raise InputError(
                f"{self.root} has logits of {len(file.classes)} classes, and data.classes chooses "
                f"{len(classes)}: leave data.classes alone, and choose with subset.classes."
            )
        label = {name: index for index, name in enumerate(file.classes)}
        number = np.zeros((len(file.classes), len(SPLITS)), dtype=np.int64)
        np.add.at(number, (file.labels, file.splits), 1)
        return {name: dict(zip(SPLITS, number[label[name]].tolist(), strict=True)) for name in classes}

    def signature(self, classes: Sequence[str], hashes: FileHashes) -> Any:
        """Checksums of the files; see ``Source.signature``."""
        found = hashes.of(self._folder, self._names(self._file))
        # The same file under another name is the same source; the files of a folder are told apart by name.
        files = found if self.root.is_dir() else [self.root.suffix, *found.values()]
        reader = {"pyarrow": version("pyarrow")} if self.root.suffix == ".parquet" else {}
        return {"recipe": RECIPE, "files": files, **reader}

    def read(self, classes: Sequence[str]) -> Examples:
        """Read the rows of ``classes``; see ``Source.read``."""
        file = self._file
        label = np.full(len(file.classes), -1, dtype=np.int64)
        label[[file.classes.index(name) for name in classes]] = np.arange(len(classes))
        labels = label[file.labels]
        rows, content = np.flatnonzero(labels >= 0), file.content(file.stages)
        if self._now(file) != self._stamps:
            raise InputError(f"{self.root} changed while it was being read: run the same command again.")
        file.refuse_infinite(content)
        return Examples(
            content=content if len(rows) == len(content) else content[rows],
            labels=labels[rows],
            split=file.splits[rows],
            groups=None if file.groups is None else file.groups[rows],
            names=[f"[{row}]" for row in rows.tolist()],
        )
