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
# Classes of timm that put the class token before their first block.
CLASS_TOKENS = ("Eva", "VisionTransformer", "VisionTransformerDistilled")


class TimmModel(Backbone):
    """A model by its name in ``timm.list_models``; its branch points are its submodules.

    Without labels of its own (``parent.labels=none``) its last stage, "output", is what the model makes of
    an image before it classifies: one vector.

    Args:
        in_shape: (3, side, side) of one image.
        num_classes: number of logits; 0 for none.
        model: name of the model, with or without the tag of its weights, as in "vit_small_patch16_224.dino".
        weights: None for random ones; "pretrained" for those of the name, from timm's hub or its cache; or a
            file with a state dict. The classifier is left out, or starts anew with that of the labels.
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
        name, dot, _ = str(model).partition(".")
        one_of(name, timm.list_models(), "model")
        if dot:
            one_of(model, timm.list_pretrained(f"{name}.*"), "model")
        module = timm.create_model(model)
        described = module.pretrained_cfg
        native = described["input_size"][-1]
        preprocessing = Preprocessing(
            native if size is None else size,
            described["mean"],
            described["std"],
            described["interpolation"],
            described["crop_pct"] if crop is None else crop,
        )
        super().__init__(module, preprocessing, "logits" if num_classes else "output", _class_token(module))
        only_outline = next(module.parameters()).is_meta  # for which nothing is downloaded
        self._tag = f"{described['architecture']}.{described['tag']}" if weights == PRETRAINED else None
        if num_classes:
            module.reset_classifier(num_classes)
        if weights is not None and not (only_outline and weights == PRETRAINED):
            fill(module, _with_classifier(module, self.state_of(model, weights)), f"weights={weights}")
        if not num_classes:
            module.reset_classifier(0)
        if described["fixed_input_size"] and self.preprocessing.size != native:
            _resize(module, model, self.preprocessing.size, native)

    @property
    def resolved(self) -> Mapping[str, Any]:
        """The preprocessing, and the tag of the weights of the name."""
        return {**super().resolved, **({"weights": self._tag} if self._tag else {})}

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


def _with_classifier(module: Any, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors with the classifier's own, where there are none or those of other classes."""
    found = module.get_classifier()
    classifiers = found if isinstance(found, tuple | list) else (found,)
    own = {
        f"{name}.{part}": tensor
        for name, one in module.named_modules()
        if any(one is classifier for classifier in classifiers)
        for part, tensor in one.state_dict().items()
    }
    fits = {name for name, tensor in own.items() if name in state and state[name].shape == tensor.shape}
    return {**state, **{name: tensor for name, tensor in own.items() if name not in fits}}


def _class_token(module: nn.Module) -> str | None:
    """Where the first token begins to stand for the image: in transformers that classify by it."""
    by_token = type(module).__name__ in CLASS_TOKENS and getattr(module, "global_pool", None) == "token"
    return "blocks.0" if by_token and getattr(module, "cls_token", None) is not None else None


def _resize(module: Any, model: str, size: int, native: int) -> None:
    """Prepare a model whose weights depend on the size of its images for another size."""
    if not hasattr(module, "set_input_size"):
        raise ArgumentError("size", f"is {size}: {model} takes images of {native} pixels alone.")
    try:
        module.set_input_size(img_size=size)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ArgumentError("size", f"is {size}, which {model} refuses: {error}.") from error
