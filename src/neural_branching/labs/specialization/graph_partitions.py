"""Partitions of any model's layers, found in its graph.

The model is traced by torch.fx as torchvision's feature extraction does it, in evaluation mode and on a copy
without values, so that nothing is computed. Layers that torch.fx does not look into (convolutions called as
functions, attention called as a function, ``nn.TransformerEncoderLayer``) are not found.
"""

import inspect
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import accumulate, count
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from neural_branching.errors import InputError
from neural_branching.labs.specialization.partition import FEWEST_UNITS, Partition
from neural_branching.selection.array_types import Shaped

Kind = Literal["concatenation", "grouped convolution", "attention heads", "residual addition"]

_CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)
_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
# What others call their number of heads, and the projection of what these attend to.
_HEADS = ("num_heads", "heads")
_PROJECTIONS = ("proj", "project", "out_proj")


@dataclass(frozen=True)
class FoundPartition:
    """A partition and how to get the activations of its units.

    Attributes:
        kind: what divides the units.
        partition: its stage is the node where the branches meet.
        stages: nodes, as ``torchvision.models.feature_extraction.get_graph_node_names`` names them, whose
            outputs hold the units, those of one node after those of the other: the partition's stage itself,
            or the two summands of a residual addition.
        axis: axis of the outputs along which the units lie: 1, or -1 for tokens.
    """

    kind: Kind
    partition: Partition
    stages: tuple[str, ...]
    axis: int


def graph_partitions(module: nn.Module, blank: Shaped[Tensor, "n ..."]) -> list[FoundPartition]:
    """Partitions of a model's layers, in the order in which the model runs them.

    - Concatenation along the channels: branches are the inputs that end in a convolution, whatever
      normalisation, activation or pooling follows it. An input that another input is computed from is no
      branch (the layers of DenseNet), nor is a pooled input of the block. A concatenation of branches that is
      an input itself is one branch, whose name joins theirs by "+".
    - Grouped convolution: branches "0", "1", … are its groups. The groups of a depthwise convolution are
      single filters and no branches.
    - Attention heads: branches "0", "1", … are slices of the embedding. Where a module with ``num_heads`` or
      ``heads`` calls its projection ``proj``, ``project`` or ``out_proj``, the stage is its input. Within
      ``nn.MultiheadAttention`` no node is that input, and the stage is the output of the projection, *which
      has mixed the heads*: give the model ``with_separate_heads`` instead.
    - Residual addition of two outputs of equal shape, one of which ends in a layer at least: both summands
      have all units, so that the units of the second follow those of the first, as if the two were
      concatenated (0 to w - 1, w to 2w - 1). Branches have the names of the nodes that are added.

    Branches of fewer than three units are left out, and so are partitions with less than two branches.

    Args:
        module: any model; it stays as it is.
        blank: a batch of its inputs, of any values.

    Raises:
        InputError: if torch.fx cannot trace the model, or it does not run on such inputs.
    """
    graph = _Graph.of(module, blank)
    finders = (_concatenation, _grouped_convolution, _attention_heads, _residual_addition)
    return [found for node in graph.shapes for find in finders for found in find(graph, node)]


def trace(module: nn.Module) -> tuple[fx.Graph, dict[fx.Node, str]]:
    """A model's graph, and the names of its nodes as torchvision's feature extraction has them."""
    # Here, as torchvision brings torch's compiler with it, and most networks are not traced.
    from torchvision import ops
    from torchvision.models.feature_extraction import NodePathTracer

    operations = vars(ops).values()
    # What torchvision's feature extraction does not look into either, so that its names are these.
    leaves = [one for one in operations if inspect.isclass(one) and issubclass(one, nn.Module)]
    tracer = NodePathTracer(leaf_modules=leaves, autowrap_modules=(math, ops))
    return tracer.trace(module), dict(tracer.node_to_qualname)


class _Graph(fx.Interpreter):
    """A model's nodes with what is known of their outputs.

    Attributes:
        names: node → its name.
        shapes: node → shape of its output, or of the first output of several; no node but those that give
            tensors, and no parameters.
        above: node → all nodes that it is computed from.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph, names: Mapping[fx.Node, str]) -> None:
        super().__init__(module, graph=graph)
        self.names = names
        self.shapes: dict[fx.Node, torch.Size] = {}
        self.above: dict[fx.Node, set[fx.Node]] = {}

    @classmethod
    def of(cls, module: nn.Module, blank: Tensor) -> "_Graph":
        """Trace a model and run it without values."""
        name = type(module).__name__
        with torch.device("meta"), torch.no_grad():
            try:
                copy = deepcopy(module).to("meta").eval()
                graph = cls(copy, *trace(copy))
            except Exception as error:  # whatever the model's own code raises
                raise InputError(
                    f"{name} cannot be traced by torch.fx ({_first_line(error)}): give the branches of a "
                    "stage in a file of unit labels instead."
                ) from error
            try:
                graph.run(blank.to("meta"))
            except Exception as error:
                raise InputError(
                    f"{name} does not run on an input of shape {tuple(blank.shape)} ({_first_line(error)})."
                ) from error
        return graph

    def run_node(self, n: fx.Node) -> Any:
        """As in ``fx.Interpreter``; keep what is to be known."""
        output = super().run_node(n)
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor) and n.op not in ("get_attr", "output"):
            self.shapes[n] = first.shape
        self.above[n] = {other for one in n.all_input_nodes for other in (one, *self.above[one])}
        return output

    def layer(self, node: fx.Node) -> nn.Module | None:
        """The convolution, linear layer or attention that a node calls, the last one of several."""
        if node.op != "call_module":
            return None
        module = self.submodules[node.target]
        layers = reversed(list(module.modules())) if isinstance(module, nn.Sequential) else [module]
        return next(
            (one for one in layers if isinstance(one, _ConvNd | nn.Linear | nn.MultiheadAttention)), None
        )

    def source(self, node: fx.Node) -> fx.Node | None:
        """The layer or concatenation whose units a node's output has, scaled, pooled or the like."""
        while self.layer(node) is None and node.target not in _CONCATENATIONS:
            shape = self.shapes[node]
            inputs = {one: self.shapes[one] for one in node.all_input_nodes if one in self.shapes}
            # What squeeze-and-excitation scales has the output's shape, its factor has not.
            same = [one for one in inputs if inputs[one] == shape] or [
                one for one in inputs if len(inputs[one]) == len(shape) and inputs[one][:2] == shape[:2]
            ]
            if len(same) != 1:
                return None
            node = same[0]
        return node

    def convolutions(self, node: fx.Node) -> list[fx.Node]:
        """The convolutions whose units a node's output has, one after another; none if it has any others."""
        source = self.source(node)
        if source is None:
            return []
        if isinstance(self.layer(source), _ConvNd):
            return [source]
        parts = [self.convolutions(one) for one in self.concatenated(source)]
        return [one for part in parts for one in part] if all(parts) else []

    def concatenated(self, node: fx.Node) -> list[fx.Node]:
        """The inputs of a concatenation along the channels; none for any other node."""
        if node.target not in _CONCATENATIONS:
            return []
        inputs = node.kwargs.get("tensors", node.args[0] if node.args else ())
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        if (
            not isinstance(inputs, Sequence)
            or not isinstance(axis, int)
            or axis % len(self.shapes[node]) != 1
        ):
            return []
        nodes = [one for one in inputs if isinstance(one, fx.Node) and one in self.shapes]
        return nodes if len(nodes) == len(inputs) else []


def _concatenation(graph: _Graph, node: fx.Node) -> Iterator[FoundPartition]:
    inputs = graph.concatenated(node)
    ends = list(accumulate(graph.shapes[one][1] for one in inputs))
    convolutions, units = [], []
    for one, end in zip(inputs, ends, strict=True):
        mine = graph.convolutions(one)
        below = [other for other in inputs if other is not one and not graph.above[other].isdisjoint(mine)]
        if mine and not below:
            convolutions.append(mine)
            units.append(range(end - graph.shapes[one][1], end))
    short = iter(_short([graph.names[one] for mine in convolutions for one in mine]))
    names = ["+".join(next(short) for _ in mine) for mine in convolutions]
    yield from _found("concatenation", graph.names[node], dict(zip(names, units, strict=True)))


def _grouped_convolution(graph: _Graph, node: fx.Node) -> Iterator[FoundPartition]:
    layer = graph.layer(node)
    if isinstance(layer, _ConvNd) and 1 < layer.groups < layer.in_channels:
        yield from _even("grouped convolution", graph.names[node], layer.out_channels, layer.groups)


def _attention_heads(graph: _Graph, node: fx.Node) -> Iterator[FoundPartition]:
    layer = graph.layer(node)
    if isinstance(layer, nn.MultiheadAttention):
        # It returns its output and its weights.
        node = next(
            (user for user in node.users if user.target is operator.getitem and user.args[1] == 0), node
        )
        yield from _even("attention heads", graph.names[node], layer.embed_dim, layer.num_heads)
    elif isinstance(layer, nn.Linear):
        path, _, name = str(node.target).rpartition(".")
        owner = graph.submodules.get(path)
        heads = next((getattr(owner, one) for one in _HEADS if hasattr(owner, one)), None)
        if name in _PROJECTIONS and isinstance(heads, int) and heads > 1 and layer.in_features % heads == 0:
            yield from _even(
                "attention heads", graph.names[node.all_input_nodes[0]], layer.in_features, heads
            )


def _residual_addition(graph: _Graph, node: fx.Node) -> Iterator[FoundPartition]:
    summands = node.all_input_nodes
    if (
        node.target not in _ADDITIONS
        or len(summands) != 2
        or any(one not in graph.shapes for one in summands)
    ):
        return
    first, second = (graph.shapes[one] for one in summands)
    layers = [graph.layer(source) for one in summands if (source := graph.source(one)) is not None]
    layers = [one for one in layers if one is not None]
    if first != second or len(first) < 3 or not layers or not _common(graph, summands):
        return
    axis = 1 if isinstance(layers[0], _ConvNd) else -1
    width = first[axis]
    stages = [graph.names[one] for one in summands]
    branches = dict(zip(stages, (range(width), range(width, 2 * width)), strict=True))
    yield from _found("residual addition", graph.names[node], branches, stages, axis)


def _even(kind: Kind, stage: str, width: int, branches: int) -> Iterator[FoundPartition]:
    if branches > 1 and width // branches >= FEWEST_UNITS:
        axis = -1 if kind == "attention heads" else 1
        yield FoundPartition(kind, Partition.even(stage, width, branches), (stage,), axis)


def _found(
    kind: Kind, stage: str, branches: dict[str, range], stages: Sequence[str] = (), axis: int = 1
) -> Iterator[FoundPartition]:
    enough = {name: units for name, units in branches.items() if len(units) >= FEWEST_UNITS}
    if len(enough) > 1:
        width = max(units.stop for units in enough.values())
        yield FoundPartition(kind, Partition.of(stage, enough, width), tuple(stages) or (stage,), axis)


def _common(graph: _Graph, nodes: Sequence[fx.Node]) -> bool:
    """Whether all nodes are computed from something that is the same."""
    above = [{one, *graph.above[one]} for one in nodes]
    return any(one.op != "get_attr" for one in set.intersection(*above))


def _short(names: Sequence[str]) -> list[str]:
    """Different names without the modules that they have in common, cut where they can be told apart."""
    paths = [name.split(".") for name in names]
    start = next((i for i, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1), 0)
    cut = ([".".join(path[start:end]) for path in paths] for end in count(start + 1))
    return next(short for short in cut if len(set(short)) == len(set(names)))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "").rstrip(".") or type(error).__name__
