"""What a trained branch, or a tree of branches, answers to new examples."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neural_branching.artifacts.activations import BATCH
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.data.inputs.text_inputs import TextInputs
from neural_branching.errors import InputError, one_of
from neural_branching.evaluation.acceptance import Acceptance
from neural_branching.networks.network import Network
from neural_branching.networks.readout import Readout, stages_of
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.routing.descent import FittedRouter, RoutingPaths, answers_of, descend, visits
from neural_branching.routing.hierarchy import Tree
from neural_branching.routing.node_outputs import NodeOutputs
from neural_branching.selection import Answers
from neural_branching.selection.scores.from_logits import softmax

log = logging.getLogger(__name__)

# From a node, its logits and its vectors, which of the answers it accepts.
Accepts = Callable[[str, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """What one node said of an example.

    Attributes:
        node: the node.
        label: the label that it followed or would have.
        probability: of that label, given the node.
        score: confidence in it.
        threshold: what the score had to reach.
        accepted: whether it did.
    """

    node: str
    label: str
    probability: float
    score: float
    threshold: float
    accepted: bool


@dataclass(frozen=True)
class Prediction:
    """The answer to one example.

    Attributes:
        answer: a class; where the tree backs off the name of a node; None for no answer. Of a judge what the
            parent answers, accepted or not.
        path: the labels that were accepted, from the root on; the last is the answer.
        confidence: product of their probabilities; 0 without an answer. Of a judge the probability that the
            answer is right.
        accepted: whether the answer is a class, or accepted by a judge.
        trace: every node that was asked.
    """

    answer: str | None
    path: tuple[str, ...]
    confidence: float
    accepted: bool
    trace: tuple[Step, ...]

    @classmethod
    def of(cls, trace: Sequence[Step]) -> "Prediction":
        """The answer to which the nodes on a path have come; those before the last went on or deferred."""
        accepted = [step for step in trace if step.accepted]
        return cls(
            answer=accepted[-1].label if accepted else None,
            path=tuple(step.label for step in accepted),
            confidence=math.prod(step.probability for step in accepted) if accepted else 0.0,
            accepted=bool(trace) and trace[-1].accepted,
            trace=tuple(trace),
        )


@dataclass(frozen=True)
class Head:
    """A branch and what it grows from.

    Attributes:
        branch: the branch.
        stage: the branch point, of the parent or the trunk.
        readout: how a stage of the parent becomes a vector.
        trunk: name of the branch that it grows from; None if it grows from the parent.
    """

    branch: StandardizedNetwork
    stage: str
    readout: Readout
    trunk: str | None = None


class HeadNetworks(nn.Module):
    """A parent with its branches as one module: one pass of the parent, every branch and every gate.

    Args:
        parent: the frozen parent.
        heads: name → branch, one before those that grow from it.
        gates: inner node → its gate, if the router of a tree asks one.
        dtype: what the parent's activations were kept in.
    """

    def __init__(
        self,
        parent: "StandardizedNetwork | _Plain",
        heads: Mapping[str, Head],
        gates: Mapping[str, Head],
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        self.dtype, self.heads, self.gates = dtype, dict(heads), dict(gates)
        self.parent = _Plain(parent)
        # By number: a module must not be called "type" or "a.b", as a node may.
        self.branches = nn.ModuleList([_Plain(head.branch) for head in heads.values()])
        self.gate_branches = nn.ModuleList([_Plain(gate.branch) for gate in gates.values()])

    def forward(self, batch: Tensor, stages: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        """Logits and vectors of every branch.

        Args:
            batch: examples as the table holds them, shape (n, …); of texts their token ids.
            stages: of the parent, in its order; it runs to the last of them.

        Returns:
            "logits" and "vectors" of every branch, "gates" with the logits of every gate, and "parent"
            with those of the parent if it runs to its end.
        """
        outputs, mask = dict(self.parent.walk(batch, stages)), self.parent.network.mask(batch)
        vectors: dict[str, Tensor] = {}
        logits: dict[str, Tensor] = {}
        for model, (name, head) in zip(self.branches, self.heads.items(), strict=True):
            if head.trunk is None:
                vectors[name] = self._read(outputs, head, mask)
            else:
                place = list(self.heads).index(head.trunk)
                trunk: _Plain = self.branches[place]  # type: ignore[assignment]
                inner = dict(trunk.walk(vectors[head.trunk], stages_of(head.stage)))
                vectors[name] = head.readout.joined(inner, head.stage, lambda stage: None)
            logits[name] = model(vectors[name])
        gates = {
            name: model(self._read(outputs, gate, mask))
            for model, (name, gate) in zip(self.gate_branches, self.gates.items(), strict=True)
        }
        parent = {"logits": self._as_kept(outputs["logits"])} if "logits" in stages else {}
        return {"logits": logits, "vectors": vectors, "gates": gates, "parent": parent}

    def _read(self, outputs: Mapping[str, Tensor], head: Head, mask: Tensor | None) -> Tensor:
        vectors: Tensor = head.readout.joined(outputs, head.stage, self.parent.network.token_readout, mask)
        return self._as_kept(vectors)

    def _as_kept(self, vectors: Tensor) -> Tensor:
        """Vectors with the digits that branches were trained and evaluated on."""
        return vectors.to(getattr(torch, self.dtype)).float()


class TreeNetworks(HeadNetworks):
    """The networks of a tree as one module.

    Args:
        tree: the tree.
        parent: the frozen parent.
        heads: node → branch, a node before those that grow from it.
        gates: inner node → its gate, if the router asks one.
        columns: the parent's logits of each node below the root; None where they do not tell them apart.
        dtype: what the parent's activations were kept in.
    """

    def __init__(
        self,
        tree: Tree,
        parent: "StandardizedNetwork | _Plain",
        heads: Mapping[str, Head],
        gates: Mapping[str, Head],
        columns: Sequence[Sequence[int]] | None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(parent, heads, gates, dtype)
        self.tree, self.columns = tree, columns

    def leave(self, batch: Tensor, stages: Sequence[str], accepts: Accepts) -> dict[str, dict[str, Tensor]]:
        """As ``forward``, of a cascade whose examples leave on the way, and then cost no more.

        Args:
            batch: examples as the table holds them, shape (n, …).
            stages: of the parent, in its order.
            accepts: from an exit, its logits and its vectors, which of the answers are accepted.

        Returns:
            As ``forward``, with zeros where an example has left before.

        Raises:
            InputError: for a network from whose pass nothing can leave.
        """
        rows = torch.arange(len(batch), device=batch.device)
        mask, kept = self.parent.network.mask(batch), dict[str, Tensor]()
        points = {name: self.parent.network.ordered(stages_of(one.stage)) for name, one in self.heads.items()}
        joined = {stage for several in points.values() for stage in several[:-1]}
        exits = {several[-1]: name for name, several in points.items()}
        models: Mapping[str, Any] = dict(zip(self.heads, self.branches, strict=True))
        logits, vectors = {}, {}
        for name, model in models.items():
            labels, width = len(self.tree.nodes[name].labels), len(model.standardize.mean)
            logits[name] = torch.zeros(len(batch), labels, device=batch.device)
            vectors[name] = torch.zeros(len(batch), width, device=batch.device)

        def stays(stage: str, output: Tensor) -> Tensor:
            nonlocal rows
            if stage in joined:  # later layers may work in place
                kept[stage] = output.clone()
            going = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
            if name := exits.get(stage):
                there = None if mask is None else mask[rows]
                seen = self._read({**kept, stage: output}, self.heads[name], there)
                given = models[name](seen)
                vectors[name][rows], logits[name][rows] = seen, given
                if self.tree.nodes[name].defer_to is None:  # whether or not it accepts, nobody goes on
                    return going
                going = ~accepts(name, given, seen)
                rows = rows[going]
                for earlier in kept:
                    kept[earlier] = kept[earlier][going]
            return going

        self.parent.network.walk_while(self.parent.standardize(batch), stages, stays)
        return {"logits": logits, "vectors": vectors, "gates": {}, "parent": {}}

    def node_outputs(
        self, found: Mapping[str, Mapping[str, Tensor | NDArray[np.float32]]], rows: object, labels: object
    ) -> NodeOutputs:
        """What ``forward`` gives, as routers take it: tensors, or the same as arrays of numpy.

        Args:
            found: what ``forward`` gives.
            rows: numbers of the examples, int64 (n,).
            labels: −1 for each of them, since their classes are unknown.
        """
        vectors, parent = dict(found["vectors"]), found["parent"].get("logits")
        if self.tree.root not in self.heads:
            first = next(iter(vectors.values()))
            vectors[self.tree.root] = first[:, :0] if parent is None else parent
        return NodeOutputs.of(
            self.tree, rows, labels, found["logits"], vectors, found["gates"], parent, self.columns
        )


class _Plain(nn.Module):
    """A classifier without Lightning's part, which no program can be made of."""

    def __init__(self, model: "StandardizedNetwork | _Plain") -> None:
        super().__init__()
        self.standardize: Standardize = model.standardize
        self.network: Network = model.network

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.network(self.standardize(x))
        return output

    def walk(self, x: Tensor, stages: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        found: Iterator[tuple[str, Tensor]] = self.network.walk(self.standardize(x), stages)
        return found


class ExamplePredictor(ABC):
    """Networks that grow from one parent, ready for new examples.

    Args:
        networks: the networks.
        input: what an example is.
        device: where networks run.
        examples: some that the run was evaluated on, as the table holds them, (n, …).
        at_once: most examples of a pass: what is too large for the processor's caches takes longer.
    """

    def __init__(
        self,
        networks: HeadNetworks,
        input: InputAdapter,
        device: torch.device,
        examples: NDArray[Any],
        at_once: int = BATCH,
    ) -> None:
        self.input, self.device, self.examples, self.at_once = input, device, examples, at_once
        self.networks = networks.to(device).eval()

    @property
    @abstractmethod
    def stages(self) -> tuple[str, ...]:
        """The parent's stages that are used, in the order of the network; it runs to the last of them."""

    @property
    @abstractmethod
    def answers(self) -> tuple[str, ...]:
        """Every possible answer; the first stands for none."""

    @abstractmethod
    def answered(self, batch: Tensor) -> list[Prediction]:
        """Answers to at least one example, as the table holds them, (n, …)."""

    def predict(self, examples: NDArray[Any] | Tensor | Sequence[Any]) -> list[Prediction]:
        """Answer examples.

        Args:
            examples: shape (n, *shape), shape and type being those of ``input``, or a list of what else it
                reads, such as files.

        Raises:
            InputError: for another shape or type, and what cannot be read.
        """
        batch = self.input.checked(examples)
        return self.answered(batch) if len(batch) else []

    def refused(self, examples: NDArray[Any]) -> dict[int, str]:
        """Place among some examples, as the table holds them → why that one cannot be answered."""
        return {}

    def encoded(self, batch: Tensor) -> Tensor:
        """What the parent takes of some examples: themselves, or of texts their token ids."""
        tokenizer, adapter = self.networks.parent.network.tokenizer, self.input
        if tokenizer is None or not isinstance(adapter, TextInputs):
            return batch
        return torch.from_numpy(tokenizer.encode(adapter.decoded(batch))[0])

    @torch.inference_mode()
    def outputs(self, encoded: Tensor) -> dict[str, dict[str, NDArray[np.float32]]]:
        """What ``HeadNetworks.forward`` gives, in passes that fit."""
        passes = [self._pass(some.to(self.device)) for some in torch.split(encoded, self.at_once)]
        return {
            kind: {
                name: np.concatenate([one[kind][name].float().cpu().numpy() for one in passes])
                for name in found
            }
            for kind, found in passes[0].items()
        }

    def _pass(self, batch: Tensor) -> dict[str, dict[str, Tensor]]:
        found: dict[str, dict[str, Tensor]] = self.networks(batch, self.stages)
        return found


class Predictor(ExamplePredictor):
    """A trained branch or a tree of branches, ready for new examples.

    Args:
        tree: the tree; of a single branch, a leaf.
        parent: the frozen parent.
        heads: node → branch, a node before those that grow from it.
        gates: inner node → its gate, if the router asks one.
        columns: the parent's logits of each node below the root; None where they are not asked.
        router: the fitted router; None for a single branch.
        acceptances: node → its fitted score and threshold.
        input: what an example is.
        device: where networks run.
        examples: some that the run was evaluated on, as the table holds them, (n, …).
        dtype: what the parent's activations were kept in.
        at_once: most examples of a pass: what is too large for the processor's caches takes longer.
    """

    networks: TreeNetworks

    def __init__(
        self,
        tree: Tree,
        parent: "StandardizedNetwork | _Plain",
        heads: Mapping[str, Head],
        gates: Mapping[str, Head],
        columns: Sequence[Sequence[int]] | None,
        router: FittedRouter | None,
        acceptances: Mapping[str, Acceptance],
        input: InputAdapter,
        device: torch.device,
        examples: NDArray[Any],
        dtype: str = "float32",
        at_once: int = BATCH,
    ) -> None:
        networks = TreeNetworks(tree, parent, heads, gates, columns, dtype)
        super().__init__(networks, input, device, examples, at_once)
        self.tree, self.router, self.acceptances = tree, router, acceptances
        # A cascade by itself; within a hierarchy routers may have to look at later nodes first.
        self._leaves = len(tree.exits(tree.root)) == len(tree.nodes) > 1
        self._leaves &= all(head.trunk is None for head in heads.values())

    @property
    def stages(self) -> tuple[str, ...]:
        """The parent's stages that are used, in the order of the network; it runs to the last of them."""
        heads = (*self.networks.heads.values(), *self.networks.gates.values())
        asked = {stage for head in heads if head.trunk is None for stage in stages_of(head.stage)}
        root = self.acceptances[self.tree.root].score
        if self.router and (self.router.router.asks_node or root.asks_activations):
            asked.add("logits")
        ordered: tuple[str, ...] = self.networks.parent.network.ordered(asked)
        return ordered

    @property
    def answers(self) -> tuple[str, ...]:
        """See ``answers_of``."""
        return answers_of(self.tree)

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class that can be an answer."""
        return self.tree.classes

    def only(self, node: str) -> "Predictor":
        """One leaf by itself, such as the last exit of a cascade, with the threshold that it has.

        Args:
            node: its name.

        Raises:
            InputError: for an inner node, a branch that grows from a branch, or an unknown name.
        """
        leaves = [name for name, head in self.networks.heads.items() if head.trunk is None]
        one_of(node, [name for name in leaves if self.tree.nodes[name].leaf], "node")
        alone = replace(self.tree.nodes[node], within=None, defer_to=None)
        tree, heads = Tree(node, {node: alone}), {node: self.networks.heads[node]}
        return Predictor(
            tree,
            self.networks.parent,
            heads,
            {},
            None,
            None,
            {node: self.acceptances[node]},
            self.input,
            self.device,
            self.examples,
            self.networks.dtype,
            self.at_once,
        )

    def answered(self, batch: Tensor) -> list[Prediction]:
        """See ``ExamplePredictor.answered``."""
        outputs = self.node_outputs(batch)
        return self._answers(outputs, descend(self.tree, outputs, self.router))

    def node_outputs(self, batch: Tensor) -> NodeOutputs:
        """What every node puts out for some examples, from one pass of the parent.

        What leaves a cascade is not computed any further: zeros stand at later exits.

        Args:
            batch: shape (n, *shape).
        """
        outputs = self.outputs(self.encoded(batch))
        return self.networks.node_outputs(outputs, np.arange(len(batch)), np.full(len(batch), -1))

    def _pass(self, batch: Tensor) -> dict[str, dict[str, Tensor]]:
        if self._leaves:
            try:
                return self.networks.leave(batch, self.stages, self._accepts)
            except InputError as error:  # anyone's layers may look back behind a stage
                log.warning("Nothing leaves this parent's pass early: %s", error)
                self._leaves = False
        return super()._pass(batch)

    def _accepts(self, name: str, logits: Tensor, vectors: Tensor) -> Tensor:
        """Which answers of an exit are accepted."""
        unknown = np.full(len(logits), -1)
        answers = Answers(unknown, unknown, logits.cpu().numpy(), vectors.cpu().numpy())
        return torch.from_numpy(self.acceptances[name].accepts(answers)).to(logits.device)

    def _answers(self, outputs: NodeOutputs, paths: RoutingPaths) -> list[Prediction]:
        traces: list[list[Step]] = [[] for _ in range(len(outputs))]
        answers = {name: paths.answers(self.tree, outputs, node) for name, node in self.tree.nodes.items()}
        scores = {name: self.acceptances[name].scorer(mine) for name, mine in answers.items()}
        for visit in visits(
            self.tree, paths, lambda name: scores[name] >= self.acceptances[name].choice.value
        ):
            name, labels = visit.node.name, visit.node.labels
            threshold, here = self.acceptances[name].choice.value, np.flatnonzero(visit.here)
            label = paths.label[name][here]
            # Plain numbers at once: taken from arrays one at a time they cost more than a small parent.
            columns = (
                here.tolist(),
                label.tolist(),
                softmax(answers[name].logits)[here, label].tolist(),
                scores[name][here].tolist(),
                visit.accepted[here].tolist(),
            )
            for index, followed, share, score, accepted in zip(*columns, strict=True):
                traces[index].append(Step(name, labels[followed], share, score, threshold, accepted))
        return [Prediction.of(trace) for trace in traces]
