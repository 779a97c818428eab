"""What the parent and the trained branches say of examples, those of test among them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.ensure_branch import (
    ensure_activations,
    ensure_branch,
    ensure_logits,
    ensure_views,
    load_branch,
)
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.experiment import Experiment, NodeSpec
from neural_branching.data.split import SPLITS
from neural_branching.evaluation.foreign import Foreign
from neural_branching.evaluation.scored_node import NodeAnswers
from neural_branching.routing.node_outputs import NodeOutputs
from neural_branching.selection import Answers
from neural_branching.selection.array_types import Float32, Int64
from neural_branching.store.artifact_store import Artifact

# Splits that no parameter is trained on.
HELD_OUT = SPLITS[1:]
BLOCK = 8192


@dataclass(frozen=True)
class TrainedBranch:
    """A trained branch and what it sees.

    Attributes:
        spec: the branch.
        artifacts: "activations" and "branch", and "views" where it learned from any.
        vectors: its inputs for all rows of the table, mapped.
    """

    spec: BranchSpec
    artifacts: Mapping[str, Artifact]
    vectors: Float32[Tensor, "n width"]

    @classmethod
    def of(cls, workspace: Workspace, spec: BranchSpec) -> "TrainedBranch":
        """Find or train a branch."""
        activations = ensure_activations(workspace, spec)
        artifacts = {"activations": activations, "branch": ensure_branch(workspace, spec)}
        if spec.views.count:
            artifacts["views"] = ensure_views(workspace, spec)
        return cls(spec, artifacts, act.read(activations, spec.stage))

    @torch.inference_mode()
    def logits(self, vectors: Float32[Tensor, "n width"]) -> Float32[np.ndarray, "n labels"]:
        """Its logits."""
        logits: Float32[np.ndarray, "n labels"] = self._model(vectors).numpy()
        return logits

    @cached_property
    def all_logits(self) -> Float32[np.ndarray, "n labels"]:
        """Its logits for all rows of the table, from one pass."""
        return self.logits(self.vectors)

    @cached_property
    def _model(self) -> torch.nn.Module:
        return load_branch(self.spec, self.artifacts["branch"])


@dataclass(frozen=True)
class Outputs:
    """What an experiment's networks say.

    Attributes:
        experiment: what was asked for.
        workspace: parent and examples.
        parent: the parent's activations that branches share, its logits among them if it gives any.
        heads: node → its trained branch.
        gates: inner node → its trained gate.
        latencies: of the exits of a cascade; None where nothing was measured.
    """

    experiment: Experiment
    workspace: Workspace
    parent: Artifact
    heads: Mapping[str, TrainedBranch]
    gates: Mapping[str, TrainedBranch]
    latencies: Artifact | None = None

    @classmethod
    def of(cls, experiment: Experiment, workspace: Workspace, latencies: Artifact | None = None) -> "Outputs":
        """Find or train everything that is to be asked.

        Args:
            experiment: what was asked for.
            workspace: parent and examples.
            latencies: see ``latencies``.
        """
        # The parent's logits last: what is built for the branches has them too, and its time is known there.
        heads = {name: TrainedBranch.of(workspace, spec) for name, spec in experiment.branches.items()}
        gates = {name: TrainedBranch.of(workspace, spec) for name, spec in experiment.gates.items()}
        first = next(iter(heads.values()))  # a branch of the parent itself
        logits = workspace.parent.labels.names
        parent = ensure_logits(workspace) if logits else first.artifacts["activations"]
        return cls(experiment, workspace, parent, heads, gates, latencies)

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """Name → artifact, in the order in which they rest on each other."""
        found = {"data": self.workspace.table.artifact, "parent": self.workspace.weights}
        if len(self.heads) == 1:
            [only] = self.heads.values()
            return found | dict(only.artifacts)
        found["activations"] = self.parent
        found |= {"latencies": self.latencies} if self.latencies else {}
        found |= {f"branch {name}": head.artifacts["branch"] for name, head in self.heads.items()}
        return found | {f"gate {name}": head.artifacts["branch"] for name, head in self.gates.items()}

    @cached_property
    def _logits(self) -> Float32[Tensor, "n labels"]:
        """The parent's logits for all rows of the table; no column if it gives none."""
        if not self.workspace.parent.labels.names:
            return torch.empty(len(self.workspace.table), 0)
        return act.read(self.parent, "logits")

    @torch.inference_mode()
    def of_node(self, name: str, node: NodeSpec, foreign: Foreign) -> tuple[NodeAnswers, NodeAnswers | None]:
        """The answers of a branch by itself, and the parent's to its classes if it knows each of them.

        Args:
            name: of the node.
            node: with a branch.
            foreign: the classes that the branch was not trained on.
        """
        head, table, labels = self.heads[name], self.workspace.table, self.workspace.parent.labels
        spec, alone = head.spec, len(self.heads) == 1
        leaf = self.experiment.tree.nodes[name].leaf
        columns = labels.columns(spec.classes) if leaf else None
        of_classes = torch.tensor(columns or [], dtype=torch.int64)
        branch, parent = NodeAnswers({}, {}), NodeAnswers({}, {})

        def ask(split: str, classes: tuple[str, ...]) -> tuple[Answers, Answers]:
            rows = table.rows(split, classes, per_class=spec.examples_per_class)
            targets = act.subset_targets(table, rows, spec.groups)
            foreign_targets = -1 - act.subset_targets(table, rows, [(one,) for one in foreign.classes])
            targets = np.where(targets < 0, foreign_targets, targets)
            seen = head.vectors[rows] if alone or node.score.asks_activations else torch.empty(len(rows), 0)
            mine = head.logits(seen) if alone else head.all_logits[rows]
            # Answers outlive the run, and vectors are many times larger than logits.
            kept = seen.numpy() if node.score.asks_activations else np.empty((len(rows), 0), np.float32)
            # Of logits by the thousand only those of the classes are read from the disk.
            theirs = self._logits[torch.from_numpy(rows)[:, None], of_classes].numpy()
            groups = None if table.groups is None else table.groups[rows]
            return Answers(rows, targets, mine, kept, groups), Answers(rows, targets, theirs, kept, groups)

        for split in HELD_OUT if node.score.learns_from != "train" else SPLITS:
            branch.known[split], parent.known[split] = ask(split, spec.classes)
        for split in ("calibration", "test"):
            branch.foreign[split], parent.foreign[split] = ask(split, foreign.classes)
        return branch, parent if columns else None

    def of_tree(self, split: str) -> NodeOutputs:
        """What every node puts out for a split's examples, of classes outside the tree too."""
        experiment, table, labels = self.experiment, self.workspace.table, self.workspace.parent.labels
        tree = experiment.tree
        rows = table.rows(split, per_class=experiment.usual.branch.examples_per_class)
        # Selected once for all that see the same.
        chosen = torch.from_numpy(rows)
        places = {name: head.vectors.data_ptr() for name, head in self.heads.items()}
        inputs = {places[name]: head.vectors for name, head in self.heads.items()}
        vectors = {place: one[chosen].numpy() for place, one in inputs.items()}
        parent = self._logits[chosen].numpy()
        return NodeOutputs.of(
            tree,
            rows,
            act.subset_targets(table, rows, [(name,) for name in tree.classes]),
            {name: head.all_logits[rows] for name, head in self.heads.items()},
            {tree.root: parent} | {name: vectors[place] for name, place in places.items()},
            {name: gate.all_logits[rows] for name, gate in self.gates.items()},
            parent,
            labels.columns_of(tree.nodes[tree.root].groups),
            None if table.groups is None else table.groups[rows],
        )

    def parent_alone(self, rows: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n classes"] | None:
        """The parent's own logits of the tree's classes; None if it does not know each of them."""
        columns = self.workspace.parent.labels.columns(self.experiment.tree.classes)
        return None if columns is None else self._logits[torch.from_numpy(rows)].numpy()[:, columns]

    def parent_accuracy(self, split: str) -> tuple[float | None, int]:
        """The parent's accuracy over all its labels, and on how many examples; None if it has none."""
        table, labels = self.workspace.table, self.workspace.parent.labels
        if not labels.names:
            return None, 0
        everyone = table.rows(split, tuple(labels.of))
        answers = np.concatenate([self._logits[some].argmax(1).numpy() for some in _blocks(everyone)])
        right = answers == labels.targets(table.classes)[table.labels[everyone]]
        return float(right.mean()), len(everyone)


def _blocks(rows: Int64[np.ndarray, " n"]) -> Iterator[Int64[np.ndarray, " m"]]:
    """Rows some at a time, so that memory holds the logits of a few of them."""
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]
