"""Any vision model of timm, with weights from its hub's cache, from a file, or from another package."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from neural_branching.errors import ArgumentError, InputError, one_of
from neural_branching.networks.backbone import Backbone
from neural_branching.networks.preprocessing import Preprocessing
from neural_branching.networks.weights import fill, read_state

PRETRAINED = "pretrained"


class TimmModel(Backbone):
    """A model by its name in ``timm.list_models``; its branch points are its submodules.

    Without labels of its own (``parent.labels=none``) its last stage, "output", is what the model makes of
    an image before it classifies: one vector.

    Args:
        in_shape: (3, side, side) of one image.
        num_classes: number of logits; 0 for none.
        model: name of the model, with or without the tag of its weights, as in "vit_small_patch16_224.dino".
        weights: None for random ones; "pretrained" for those of the name, from timm's hub or its cache; or a
            file with a state dict. A classifier of other classes starts anew, or is left out.
        size: side of the images that the network sees; None for the one that it was trained with.
        crop: share of an image's side that it sees; None for what it was evaluated with.

    Raises:
        InputError: for an unknown model, a file of another architecture, a size that the model refuses,
            weights that cannot be downloaded, or if timm is not installed.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        model: str,
        weights: str | None = None,
        size: int | None = None,
        crop: float | None = 1.0,
    ) -> None:
        timm = import_timm()
        name, _, tag = str(model).partition(".")
        one_of(name, timm.list_models(), "model")
        if tag:
            one_of(model, timm.list_pretrained(f"{name}.*"), "model")
        described = timm.get_pretrained_cfg(model) or timm.create_model(model).pretrained_cfg
        module = _made(timm, model, num_classes, described, size)
        preprocessing = Preprocessing(
            size or described.input_size[-1],
            described.mean,
            described.std,
            described.interpolation,
            crop or described.crop_pct,
        )
        token = "blocks.0" if getattr(module, "cls_token", None) is not None else None
        super().__init__(module, preprocessing, "logits" if num_classes else "output", token)
        only_outline = next(module.parameters()).is_meta  # for which nothing is downloaded
        if weights is not None and not (only_outline and weights == PRETRAINED):
            state = dict(self.state_of(model, weights))
            if not num_classes:
                one = described.classifier
                classifiers = tuple(f"{name}." for name in ([one] if isinstance(one, str) else one))
                state = {name: tensor for name, tensor in state.items() if not name.startswith(classifiers)}
            fill(module, state, f"weights={weights}", other_classes=True)

    def state_of(self, model: str, weights: str) -> Mapping[str, Tensor]:
        """Named tensors of some weights of a model, its classifier's among them.

        Raises:
            InputError: if they cannot be had.
        """
        if Path(weights).is_file():
            return read_state(Path(weights))
        if weights != PRETRAINED:
            raise ArgumentError("weights", f"is {weights!r}: it must be null, {PRETRAINED} or a file.")
        try:
            return import_timm().create_model(model, pretrained=True).state_dict()  # type: ignore[no-any-return]
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ArgumentError(
                "weights", f"is {weights!r}, which cannot be downloaded ({reason}): give a file instead."
            ) from error


def import_timm() -> Any:
    """The package timm.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"Models of timm need the package {error.name}: pip install 'neural-branching[timm]'."
        ) from error
    return timm


def _made(timm: Any, model: str, num_classes: int, described: Any, size: int | None) -> nn.Module:
    """The model with initial weights, for images of a size."""
    options = (
        {}
        if size in (None, described.input_size[-1]) or not described.fixed_input_size
        else {"img_size": size}
    )
    try:
        made: nn.Module = timm.create_model(model, num_classes=num_classes, **options)
    except (AssertionError, TypeError, ValueError) as error:
        if not options:
            raise
        raise ArgumentError("size", f"is {size}, which {model} refuses: {error}.") from error
    return made
