"""Any classification model of torchvision, its branch points being the nodes of its graph."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from neural_branching.errors import ArgumentError, InputError, one_of
from neural_branching.networks.network import Network, Stays
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
        self._extractors: dict[tuple[str, ...], tuple[torch.device, fx.GraphModule]] = {}
        self._passes: dict[fx.Graph, _LeavingPass] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A copy traces its own graphs: nodes of copied ones would not be those that a pass knows.
        return {**self.__dict__, "_extractors": {}, "_passes": {}}

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
            yield name, _activations(name, output, x.shape[0])

    def walk_while(self, x: Shaped[Tensor, "n ..."], stages: Sequence[str], stays: Stays) -> None:
        """As in ``Network``; what has left is computed no further.

        Raises:
            InputError: if a node gives no tensor with one entry per image; and where later nodes take from
                before a stage what is no such tensor but depends on the images, such as their number.
        """
        extractor = self._extractor(tuple(stages), x.device)
        if extractor.graph not in self._passes:
            self._passes[extractor.graph] = _LeavingPass(extractor)
        self._passes[extractor.graph].run_while(x, stays)

    def _extractor(self, stages: tuple[str, ...], device: torch.device) -> fx.GraphModule:
        # An extractor shares the model's layers, but copies tensors that a module holds directly.
        placed, extractor = self._extractors.get(stages, (None, None))
        if extractor is None or placed != device:
            nodes = {self._nodes[-1] if name == "logits" else name: name for name in stages}
            extractor = create_feature_extractor(self.model, nodes, suppress_diff_warning=True)
            _truncate(extractor)
            self._extractors[stages] = device, extractor
        return extractor.train(self.training)


class _LeavingPass(fx.Interpreter):
    """A graph computed node by node; behind a stage only with the images that stay.

    Args:
        extractor: what ``create_feature_extractor`` makes for some stages, truncated.
    """

    def __init__(self, extractor: fx.GraphModule) -> None:
        super().__init__(extractor)
        self.extra_traceback = False
        [output] = (node for node in extractor.graph.nodes if node.op == "output")
        self.stages = {copied.args[0]: name for name, copied in output.args[0].items()}
        # Copies are for a pass that hands out its stages at its end: here nobody reads them.
        nodes = [node for node in extractor.graph.nodes if node.target is not _copied]
        self.order = {node: place for place, node in enumerate(nodes)}
        self.last_use = {
            node: max((self.order.get(user, -1) for user in node.users), default=-1) for node in nodes
        }
        self.of_images = set[fx.Node]()
        for node in nodes:
            if node.op == "placeholder" or not self.of_images.isdisjoint(node.all_input_nodes):
                self.of_images.add(node)

    def run_while(self, x: Tensor, stays: Stays) -> None:
        """Compute until all images have left, or the last stage is there.

        Args:
            x: input batch.
            stays: as in ``Network.walk_while``.
        """
        self.stays, self.here, self.left = stays, len(x), dict(self.stages)
        try:
            self.run(x)
        except _AllLeftError:
            pass
        finally:
            self.env = {}

    def run_node(self, n: fx.Node) -> Any:
        """What a node gives, of the images that stay."""
        if n.target is _copied:
            return None
        output = super().run_node(n)
        if n not in self.left:
            return output
        name = self.left.pop(n)
        going = self.stays(name, _activations(name, output, self.here))
        staying = int(going.sum())
        if not self.left or not staying:
            raise _AllLeftError
        if staying == self.here:
            return output
        for node in self.of_images & self.env.keys():
            if self.last_use[node] > self.order[n]:
                self.env[node] = _thinned(node, self.env[node], going, name)
        self.here = staying
        return output[going]


def _thinned(node: fx.Node, value: object, going: Tensor, stage: str) -> Tensor:
    """What a node has given, of the images that stay.

    Raises:
        InputError: if it is no tensor with one entry per image.
    """
    if isinstance(value, Tensor) and value.ndim and len(value) == len(going):
        return value[going]
    raise InputError(
        f"Layers behind the stage {stage!r} take {node.name} from before it, which has no entry per image."
    )


class _AllLeftError(Exception):
    """No image is left, or no stage."""


def _activations(name: str, output: object, count: int) -> Tensor:
    """What a node gives for some images.

    Raises:
        InputError: if it is no tensor with one entry per image.
    """
    # By shape: in a program the number of images is no number yet, and len() would make it one.
    if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[0] != count:
        raise InputError(
            f"The stage {name!r} gives no activations of images: choose a node that returns a tensor."
        )
    return output


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
