"""Any classification model of torchvision, its branch points being the nodes of its graph."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from neural_branching.errors import ArgumentError, InputError, one_of
from neural_branching.networks.network import Network
from neural_branching.networks.weights import fill, read_state
from neural_branching.selection.array_types import Shaped


class TorchvisionModel(Network):
    """A model by its name in ``torchvision.models``.

    Branch points are the nodes that ``torchvision.models.feature_extraction.get_graph_node_names`` finds
    in evaluation mode; the last node is called "logits". The pass is truncated at a node by
    ``create_feature_extractor``.

    Args:
        in_shape: (channels, height, width) of one image.
        num_classes: number of logits.
        model: name of the model, as in ``torchvision.models.list_models``.
        weights: initial weights: None for random ones, a name such as "DEFAULT" or "IMAGENET1K_V1"
            (downloaded), or a file with a state dict. The last layer starts anew if it has another
            number of classes.

    Raises:
        InputError: for an unknown model or weights, or a file that does not fit the model.
    """

    pass_recipe = 2  # 1 handed out what later nodes had changed in place

    def __init__(
        self, in_shape: Sequence[int], num_classes: int, model: str, weights: str | None = None
    ) -> None:
        super().__init__()
        one_of(model, models.list_models(module=models), "model")
        with warnings.catch_warnings():
            # GoogLeNet and Inception announce that their random initialisation is slow.
            warnings.simplefilter("ignore", FutureWarning)
            self.model: nn.Module = models.get_model(model, weights=None, num_classes=num_classes)
        if weights is not None:
            fill(self.model, _state(model, weights), f"weights={weights}", other_classes=True)
        # Dropout and side exits are nodes in training only: the names are those of evaluation.
        self._nodes = tuple(get_graph_node_names(self.model, suppress_diff_warning=True)[1][1:])
        if model.startswith("vit_"):
            self.class_token = next(name for name in self._nodes if name.endswith(".self_attention"))
        self._extractors: dict[tuple[str, ...], tuple[torch.device, nn.Module]] = {}

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Nodes of the graph in order, the last one as "logits"."""
        return (*self._nodes[:-1], "logits")

    @property
    def main_stages(self) -> tuple[str, ...]:
        """The last node of every top-level module, then "logits"."""
        modules = dict(self.model.named_children())
        last = {node.split(".")[0]: node for node in self._nodes[:-1]}
        return (*(node for module, node in last.items() if module in modules), "logits")

    @property
    def bare(self) -> nn.Module:
        """The module itself."""
        return self.model

    def forward(self, x: Shaped[Tensor, "n ..."], until: str | None = None) -> Shaped[Tensor, "n ..."]:
        """As in ``Network``; the whole model runs as torchvision wrote it."""
        if until is not None and until != "logits":
            return super().forward(x, until)
        output = self.model(x)
        # While training, GoogLeNet and Inception return the logits of their side exits as well.
        logits: Tensor = getattr(output, "logits", output)
        return logits

    def walk(
        self, x: Shaped[Tensor, "n ..."], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n ..."]]]:
        """Name and output of some nodes, once the truncated pass is over.

        Raises:
            InputError: if a node gives no tensor with one entry per image.
        """
        for name, output in self._extractor(tuple(stages), x.device)(x).items():
            if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[0] != x.shape[0]:
                raise InputError(
                    f"The stage {name!r} gives no activations of images: choose a node that returns a tensor."
                )
            yield name, output

    def _extractor(self, stages: tuple[str, ...], device: torch.device) -> nn.Module:
        # An extractor shares the model's layers, but copies tensors that a module holds directly.
        placed, extractor = self._extractors.get(stages, (None, None))
        if extractor is None or placed != device:
            nodes = {self._nodes[-1] if name == "logits" else name: name for name in stages}
            extractor = create_feature_extractor(self.model, nodes, suppress_diff_warning=True)
            _truncate(extractor)
            self._extractors[stages] = device, extractor
        return extractor.train(self.training)


def _truncate(extractor: fx.GraphModule) -> None:
    """Remove what lies beyond the last node, and copy what later nodes may change in place.

    Assertions would keep all that they look at alive.
    """
    graphs: list[fx.Graph] = [extractor.train_graph, extractor.eval_graph]  # type: ignore[list-item]
    for graph in graphs:
        for node in list(graph.nodes):
            if node.op == "call_function" and node.target is torch._assert:
                graph.erase_node(node)
        [output] = (node for node in graph.nodes if node.op == "output")
        copied = {}
        for name, node in output.args[0].items():
            with graph.inserting_after(node):
                copied[name] = graph.call_function(_copied, (node,))
        output.args = (copied,)
        graph.eliminate_dead_code()
    extractor.recompile()


def _copied(output: object) -> object:
    return output.clone() if isinstance(output, Tensor) else output


def _state(model: str, weights: str) -> Mapping[str, Tensor]:
    if Path(weights).is_file():
        return read_state(Path(weights))
    offered = list(models.get_model_weights(model).__members__)
    if weights not in offered:
        raise ArgumentError(
            "weights",
            f"is {weights!r}, which is no file and no weights of {model}: those are {', '.join(offered)}.",
        )
    try:
        state: Mapping[str, Tensor] = models.get_model_weights(model)[weights].get_state_dict(progress=False)
    except OSError as error:
        raise ArgumentError(
            "weights", f"is {weights!r}, which cannot be downloaded ({error}): give a file instead."
        ) from error
    return state
