"""Which source reads what lies at a place."""

from pathlib import Path

from neural_branching.data.sources.image_folder import ImageFolder
from neural_branching.data.sources.source import Source
from neural_branching.data.sources.texts import Texts
from neural_branching.data.sources.vectors import Vectors


def recognise(place: Path) -> tuple[str, Source]:
    """The name of the file in ``conf/data`` that fits, and its source.

    Args:
        place: a file of texts, a file of vectors or a folder of ``.npy`` files; else class folders of images.
    """
    if place.suffix in (".jsonl", ".csv"):
        return "text", Texts(str(place))
    if place.is_file() or any(place.glob("*.npy")):
        return "vectors", Vectors(str(place))
    return "image_folder", ImageFolder(str(place))
