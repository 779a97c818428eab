"""Where an experiment's examples come from: the options of ``conf/data``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_branching.facade.groups import Group, given


class Data(Group):
    """A data set by the name of its file in ``conf/data``.

    Args:
        option: the name.
        classes: class names in label order; those of the file if not given.
        superclasses: name → classes.
        split: shares and seed of the splits, as in ``conf/data/split``.
        source: options of the source.
        options: further keys of the group, such as ``root``.
    """

    def __init__(
        self,
        option: str,
        *,
        classes: Sequence[str] | None = None,
        superclasses: Mapping[str, Sequence[str]] | None = None,
        split: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        changes = given(classes=classes, superclasses=superclasses, split=split, source=source)
        super().__init__(option, {**changes, **options})


class Glyphs(Data):
    """The embedded rendered characters.

    Args:
        train_per_class: training images of each class.
        test_per_class: test images of each class.
        options: as for ``Data``; ``image_size`` in pixels.
    """

    def __init__(
        self, train_per_class: int | None = None, test_per_class: int | None = None, **options: Any
    ) -> None:
        source = given(train_per_class=train_per_class, test_per_class=test_per_class)
        super().__init__("glyphs", source=source or None, **options)


class Cifar100(Data):
    """CIFAR-100, downloaded by torchvision.

    Args:
        options: as for ``Data``; ``root`` is the folder for the download.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("cifar100", **options)


class ImageFolder(Data):
    """Images in class folders, ``<class>/*`` or ``{train,test}/<class>/*``.

    Args:
        root: the folder.
        options: as for ``Data``; ``image_size`` in pixels.
    """

    def __init__(self, root: str | Path, **options: Any) -> None:
        super().__init__("image_folder", root=root, **options)


class Vectors(Data):
    """Activations that somebody else computed; their parent is ``parents.Identity``.

    Args:
        root: the file or folder.
        options: as for ``Data``.
    """

    def __init__(self, root: str | Path, **options: Any) -> None:
        super().__init__("vectors", root=root, **options)


class Texts(Data):
    """Texts with labels, in a file; their parent is ``parents.HuggingFaceText``.

    Args:
        root: a .jsonl, .csv or .parquet file.
        options: as for ``Data``.
    """

    def __init__(self, root: str | Path, **options: Any) -> None:
        super().__init__("text", root=root, **options)


class PackageDescriptions(Data):
    """What apt-cache says of the packages of a Debian or Ubuntu system; its parent is ``parents.MiniLM``.

    Args:
        sections: such as games, sound, graphics.
        per_section: descriptions of each.
        options: as for ``Data``.
    """

    def __init__(
        self, sections: Sequence[str] | None = None, per_section: int | None = None, **options: Any
    ) -> None:
        source = given(sections=sections, per_section=per_section)
        super().__init__("debian_descriptions", source=source or None, **options)
