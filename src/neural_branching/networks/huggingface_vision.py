"""Any vision model of Hugging Face's transformers, from a folder or the hub's cache."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from neural_branching.errors import ArgumentError, InputError
from neural_branching.networks.backbone import Backbone
from neural_branching.networks.huggingface_model import (
    described,
    had,
    import_transformers,
    revision,
    with_weights,
)
from neural_branching.networks.preprocessing import Preprocessing
from neural_branching.networks.timm_model import PRETRAINED
from neural_branching.selection.array_types import Float, Shaped

# As Pillow numbers them.
INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
# What a processor says of how it prepares images.
_SAID = (
    *("size", "crop_size", "crop_pct", "do_center_crop", "resample", "do_rescale", "rescale_factor"),
    *("do_normalize", "image_mean", "image_std", "do_flip_channel_order", "rescale_offset", "include_top"),
)
_WHOLE = 384  # images of this side and above are not cropped by ``crop_pct``


class HuggingFaceVision(Backbone):
    """A vision model without its classifier; its branch points are its submodules.

    Its last stage, "output", is what the model pools: else its class token, or the mean of its tokens or
    of its maps. The dense pooler of a ViT is left out, as published classifiers were trained without it.
    Of a block that returns several things the first is its stage. Code that comes with a model never runs.

    Args:
        in_shape: (3, side, side) of one image.
        num_classes: 0: the model gives no logits of the data's labels.
        model: a folder, or a name on the hub, as in "facebook/dinov2-small".
        weights: "pretrained", safetensors if there are any, else a state dict of tensors alone; None for
            random ones.
        size: side of the images that the network sees; None for the one that it was trained with.
        crop: share of an image's side that it sees; None for what it was evaluated with.

    Raises:
        InputError: if transformers is not installed, there is no such model or it cannot be downloaded, it
            takes no images, or its weights are incomplete.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        model: str,
        weights: str | None = PRETRAINED,
        size: int | None = None,
        crop: float | None = 1.0,
    ) -> None:
        if num_classes:
            raise InputError(
                "parent=huggingface gives no logits of the data's labels: leave parent.labels at none."
            )
        if weights not in (None, PRETRAINED):
            raise ArgumentError(
                "weights", f"is {weights!r}: it must be null or {PRETRAINED}; parent.model may be a folder."
            )
        transformers = import_transformers()
        self._revision = had(model, lambda: revision(transformers, model))
        # Code that comes with a model never runs.
        fixed = {"revision": self._revision or "main", "trust_remote_code": False}
        config = had(model, lambda: transformers.AutoConfig.from_pretrained(model, **fixed))
        # A model of images and text sees images alone.
        config = getattr(config, "vision_config", config)
        with torch.device("meta"):
            module = had(model, lambda: transformers.AutoModel.from_config(config, trust_remote_code=False))
        if getattr(module, "main_input_name", "") != "pixel_values":
            raise ArgumentError("model", f"is {model!r}, a {type(module).__name__}, which takes no images.")
        if not torch.empty(0).is_meta:  # of an outline nothing is read
            module = with_weights(type(module), model, config, fixed) if weights else type(module)(config)
        if hasattr(getattr(module, "pooler", None), "dense"):
            module.pooler = None
        self._resizable = "interpolate_pos_encoding" in signature(module.forward).parameters
        processor = had(model, lambda: transformers.AutoImageProcessor.from_pretrained(model, **fixed))
        preprocessing, self._native = _preprocessing(processor, model, size, crop)
        super().__init__(module, preprocessing, "output")
        tokens = any(hasattr(one, "cls_token") or hasattr(one, "class_embedding") for one in module.modules())
        if tokens and not getattr(config, "use_mean_pooling", False):
            self.class_token = self.main_stages[0]
        self._config = described(config)

    @property
    def resolved(self) -> Mapping[str, Any]:
        """The preprocessing, the model's configuration, and the revision of one of the hub."""
        return {**super().resolved, "config": self._config, "revision": self._revision}

    def compute(self, x: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n width"]:
        """What the model pools of images."""
        other = self._resizable and self.preprocessing.size != self._native
        output = self.module(pixel_values=x, **({"interpolate_pos_encoding": True} if other else {}))
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is None:
            last: Tensor = output.last_hidden_state
            by_token = self.class_token is not None and last.ndim == 3
            pooled = last[:, 0] if by_token else last.mean(1 if last.ndim == 3 else (2, 3))
        return pooled.flatten(1)

    def element(self, stage: str, output: object) -> object:
        """The hidden states, which blocks return before anything else."""
        return output[0] if isinstance(output, tuple) and output else output


def _preprocessing(
    processor: Any, model: str, size: int | None, crop: float | None
) -> tuple[Preprocessing, int]:
    """What a model expects of an image, and the side that it was trained with.

    Raises:
        InputError: if the model's own preprocessing does what is not done here.
    """
    said: dict[str, Any] = {name: getattr(processor, name, None) for name in _SAID}
    strange = [name for name in ("do_flip_channel_order", "rescale_offset", "include_top") if said[name]]
    if said["do_rescale"] is False or abs((said["rescale_factor"] or 1 / 255) * 255 - 1) > 1e-6:
        strange.append("rescale_factor")
    if said["resample"] not in INTERPOLATIONS:
        strange.append("resample")
    if strange:
        raise ArgumentError(
            "model",
            f"is {model!r}, whose images are prepared in a way that is not known here: "
            f"{', '.join(f'{name}={said[name]!r}' for name in strange)}.",
        )
    resized = _side(model, said["size"])
    native = _side(model, said["crop_size"]) if said["do_center_crop"] else resized
    share = said["crop_pct"] if said["crop_pct"] and native < _WHOLE else min(1.0, native / resized)
    scaled = said["do_normalize"]
    return Preprocessing(
        native if size is None else size,
        said["image_mean"] if scaled else (0.0, 0.0, 0.0),
        said["image_std"] if scaled else (1.0, 1.0, 1.0),
        INTERPOLATIONS[said["resample"]],
        share if crop is None else crop,
    ), native


def _side(model: str, size: object) -> int:
    """The side of what a description of an image's size means."""
    if size is not None and not isinstance(size, int):
        size = size["height"] or size["shortest_edge"]  # type: ignore[index]
    if not isinstance(size, int):
        raise ArgumentError("model", f"is {model!r}, whose preprocessing says no size of images.")
    return size
