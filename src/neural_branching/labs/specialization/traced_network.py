"""A model as its graph: what its divided stages answer, and what the rest makes of it."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from neural_branching.labs.specialization.attention_heads import with_separate_heads
from neural_branching.labs.specialization.graph_partitions import FoundPartition, graph_partitions, trace
from neural_branching.networks.backbone import Backbone
from neural_branching.networks.network import Network
from neural_branching.networks.staged import StagedNetwork
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float, Shaped

Rest = Callable[[Shaped[Tensor, "n units ..."]], Float[Tensor, "n classes"]]


def divided_in_graph(network: Network, blank: Shaped[Tensor, "1 ..."]) -> list[FoundPartition]:
    """What ``graph_partitions`` finds in a network, the heads of attention apart.

    Args:
        network: any network.
        blank: a standardised input of its, of any values.

    Raises:
        InputError: as ``graph_partitions``.
    """
    place = next(network.parameters(), blank).device
    return graph_partitions(_module_of(network), _preparation(network)(blank.to(place)))


def traced(model: StandardizedNetwork, blank: Shaped[Tensor, "1 ..."]) -> StandardizedNetwork:
    """The same model, its stages being the divided ones of its graph; it shares the weights.

    Raises:
        InputError: as ``graph_partitions``.
    """
    return StandardizedNetwork(model.standardize, TracedNetwork(model.network, blank)).eval()


class TracedNetwork(Network):
    """The divided stages of a model and its logits; a pass may go on from any stage.

    Units lie along axis 1: tokens (n, tokens, units) are handed out as maps (n, units, tokens, 1). The stage
    of a residual addition has the units of both summands, those of the second after those of the first.

    Args:
        network: any network; layers are shared, but for those whose heads are taken apart.
        blank: a standardised input of its, of any values.

    Raises:
        InputError: as ``graph_partitions``.
    """

    def __init__(self, network: Network, blank: Shaped[Tensor, "1 ..."]) -> None:
        super().__init__()
        self.divided = {one.partition.stage: one for one in divided_in_graph(network, blank)}
        self.module = _module_of(network).eval()
        graph, names = trace(self.module)
        self._prepared = _preparation(network)
        self._order = {node: place for place, node in enumerate(graph.nodes)}
        self._nodes = {name: node for node, name in names.items()}
        [self._result] = next(node for node in graph.nodes if node.op == "output").all_input_nodes
        self._parts: dict[tuple[str, ...], fx.GraphModule] = {}
        self._cuts: dict[str, _Cut] = {}

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The divided stages in order, then "logits"."""
        return (*self.divided, "logits")

    def walk(
        self, x: Shaped[Tensor, "n ..."], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n ..."]]]:
        """Name and output of some stages, once the pass is over; see ``Network.walk``."""
        names = tuple(stages)
        if names not in self._parts:
            nodes = [node for name in names for node in self._nodes_of(name)]
            self._parts[names] = self._part([], nodes, copied=True)
        outputs = iter(self._parts[names](self._prepared(x)))
        for name in names:
            yield name, self._handed_out(name, [next(outputs) for _ in self._nodes_of(name)])

    def opened(self, x: Shaped[Tensor, "n ..."], stage: str) -> tuple[Shaped[Tensor, "n units ..."], Rest]:
        """The output of a divided stage, and what the network makes of it or of what replaces it.

        Args:
            x: standardised inputs.
            stage: a divided stage.
        """
        if stage not in self._cuts:
            self._cuts[stage] = self._cut(stage)
        cut, found = self._cuts[stage], self.divided[stage]
        values = cut.before(self._prepared(x))
        units, kept = values[: len(found.stages)], values[len(found.stages) :]

        def rest(output: Tensor) -> Tensor:
            parts = [one if found.axis == 1 else one[..., 0].mT for one in output.chunk(len(found.stages), 1)]
            # Later layers may work in place.
            others = [one.clone() if isinstance(one, Tensor) else one for one in kept]
            logits: Tensor = cut.after(sum(parts[1:], parts[0].clone()), *others)[0]
            return logits

        return self._handed_out(stage, units), rest

    def _nodes_of(self, stage: str) -> list[fx.Node]:
        if stage == "logits":
            return [self._result]
        return [self._nodes[name] for name in self.divided[stage].stages]

    def _handed_out(self, stage: str, outputs: Sequence[Tensor]) -> Tensor:
        if stage == "logits":
            return outputs[0]
        tokens = self.divided[stage].axis != 1
        return torch.cat([one.mT[..., None] if tokens else one for one in outputs], 1)

    def _cut(self, stage: str) -> "_Cut":
        """What leads to a stage, and to what else is needed beyond it; and what comes then."""
        inputs, meeting = self._nodes_of(stage), self._nodes[stage]
        kept: dict[fx.Node, None] = {}
        seen, waiting = set(), [self._result]
        while waiting:
            node = waiting.pop()
            if node in seen or node is meeting:
                continue
            seen.add(node)
            if self._order[node] < self._order[meeting] and node.op != "get_attr":
                kept[node] = None
            else:
                waiting += node.all_input_nodes
        return _Cut(
            self._part([], [*inputs, *kept]), self._part([meeting, *kept], [self._result], copied=False)
        )

    def _part(
        self, inputs: Sequence[fx.Node], outputs: Sequence[fx.Node], *, copied: bool = False
    ) -> fx.GraphModule:
        """The computation of some nodes from others, or from the input of all.

        Args:
            inputs: nodes whose values are given; none for the input of the model.
            outputs: nodes whose values are wanted.
            copied: whether to keep values from what later layers do in place.
        """
        needed, waiting = set(inputs), list(outputs)
        while waiting:
            node = waiting.pop()
            if node not in needed:
                needed.add(node)
                waiting += node.all_input_nodes
        graph, of = fx.Graph(), {}
        for node in inputs:
            of[node] = graph.placeholder(node.name)
        results = {}
        for node in self._order:
            if node in needed and node not in of:
                of[node] = graph.node_copy(node, of.__getitem__)
            if node in outputs:
                results[node] = graph.call_function(torch.clone, (of[node],)) if copied else of[node]
        graph.output([results[node] for node in outputs])
        return fx.GraphModule(self.module, graph)


@dataclass(frozen=True)
class _Cut:
    """A graph in two parts.

    Attributes:
        before: input → the nodes of a stage, and others that are needed beyond it.
        after: the node where the branches meet, and those others → [logits].
    """

    before: fx.GraphModule
    after: fx.GraphModule


def _module_of(network: Network) -> nn.Module:
    if isinstance(network, StagedNetwork):
        return nn.Sequential(OrderedDict(network.stages.items()))
    return with_separate_heads(network.bare)


def _preparation(network: Network) -> Callable[[Tensor], Tensor]:
    """What is done to an input before the graph begins."""
    return network.preprocessing if isinstance(network, Backbone) else lambda x: x
