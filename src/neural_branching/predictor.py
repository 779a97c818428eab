"""What a finished run answers to new images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neural_branching import pipeline
from neural_branching.artifacts.ensure_branch import ensure_branch, load_branch
from neural_branching.artifacts.workspace import Workspace, load_parent
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.build import UntrustedError
from neural_branching.config.experiment import Experiment
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.errors import InputError
from neural_branching.evaluation.fitted import Stop
from neural_branching.files.reading import read_yaml
from neural_branching.networks.readout import Readout
from neural_branching.report.results import read_results, records
from neural_branching.routing.descent import Guide, Seen, Way, descend, travel
from neural_branching.routing.hierarchy import Tree
from neural_branching.selection.arrays import Floats
from neural_branching.selection.scores.from_logits import softmax
from neural_branching.store.artifact_store import store_at
from neural_branching.store.run_folders import CONFIG, RESULTS
from neural_branching.training.branch import Branch
from neural_branching.training.parent import Parent

EXAMPLES = 256  # at most


@dataclass(frozen=True)
class Step:
    """What one node said of an image.

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
    """The answer to one image.

    Attributes:
        answer: a class; where the tree backs off the name of a node; None for no answer.
        path: the labels that were accepted, from the root on; the last is the answer.
        confidence: product of their probabilities; 0 without an answer.
        accepted: whether the answer is a class.
        trace: every node that was asked.
    """

    answer: str | None
    path: tuple[str, ...]
    confidence: float
    accepted: bool
    trace: tuple[Step, ...]


@dataclass(frozen=True)
class Head:
    """A branch and what it grows from.

    Attributes:
        branch: the branch.
        stage: the stage that it sees, of the parent or the trunk.
        readout: how the parent's stage becomes a vector.
        trunk: name of the branch that it grows from; None if it grows from the parent.
    """

    branch: Branch
    stage: str
    readout: Readout
    trunk: str | None = None


class Predictor:
    """A trained branch or a tree of branches, ready for images.

    Args:
        tree: the tree; of a single branch, a leaf.
        parent: the frozen parent.
        heads: node → branch, a node before those that grow from it.
        gates: inner node → its gate, if the router asks one.
        columns: the parent's logits of each node below the root; None where they are not asked.
        guide: the fitted router; None for a single branch.
        stops: node → its fitted score and threshold.
        input: what an example is.
        device: where networks run.
        examples: some that the run was judged by, as the table holds them, (n, …).
    """

    def __init__(
        self,
        tree: Tree,
        parent: Parent,
        heads: Mapping[str, Head],
        gates: Mapping[str, Head],
        columns: Sequence[Sequence[int]] | None,
        guide: Guide | None,
        stops: Mapping[str, Stop],
        input: InputAdapter,
        device: torch.device,
        examples: NDArray[Any],
    ) -> None:
        self.tree, self.guide, self.stops, self.columns = tree, guide, stops, columns
        self.input, self.device, self.examples = input, device, examples
        self.parent = parent.to(device).eval()
        self.heads, self.gates = heads, gates
        for head in (*heads.values(), *gates.values()):
            head.branch.to(device).eval()

    @property
    def asks_logits(self) -> bool:
        """Whether the parent has to go to its end."""
        if self.guide is None:
            return False
        return self.guide.router.asks_node or self.stops[self.tree.root].score.asks_activations

    @property
    def stages(self) -> tuple[str, ...]:
        """The parent's stages that are used, in the order of the network; it runs to the last of them."""
        asked = {head.stage for head in (*self.heads.values(), *self.gates.values()) if head.trunk is None}
        if self.asks_logits:
            asked.add("logits")
        return tuple(name for name in self.parent.network.stage_names if name in asked)

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class that can be an answer."""
        return self.tree.classes

    def predict(self, examples: NDArray[Any] | Tensor) -> list[Prediction]:
        """Answer examples.

        Args:
            examples: shape (n, *shape), shape and type being those of ``input``.

        Raises:
            InputError: for another shape or type.
        """
        batch = self.input.checked(examples)
        if not len(batch):
            return []
        seen = self.look(batch)
        way = travel(self.tree, seen, self.guide)
        return self._answers(seen, way)

    @torch.inference_mode()
    def look(self, batch: Tensor) -> Seen:
        """What every node says of some images, from one pass of the parent.

        Args:
            batch: shape (n, *shape).
        """
        token = self.parent.network.has_class_token
        outputs = dict(self.parent.walk(batch.to(self.device), self.stages))
        vectors: dict[str, Tensor] = {}
        logits: dict[str, Tensor] = {}

        def ask(name: str, head: Head) -> Tensor:
            if head.trunk is None:
                vectors[name] = head.readout(outputs[head.stage], token(head.stage))
            else:
                vectors[name] = self.heads[head.trunk].branch(vectors[head.trunk], until=head.stage)
            answer: Tensor = head.branch(vectors[name])
            return answer

        for name, head in self.heads.items():
            logits[name] = ask(name, head)
        gates = {
            name: softmax(_array(ask(f"gate {name}", gate)))[:, : len(self.tree.nodes[name].labels)]
            for name, gate in self.gates.items()
        }
        root: Floats | None = None
        if self.tree.root not in self.heads:
            vectors[self.tree.root] = outputs["logits"] if self.asks_logits else torch.empty(len(batch), 0)
            if self.asks_logits and self.columns is not None:
                shares = softmax(_array(outputs["logits"]))
                root = np.stack([shares[:, list(mine)].sum(axis=1) for mine in self.columns], axis=1)
        unknown = np.full(len(batch), -1)
        return Seen(
            rows=np.arange(len(batch)),
            labels=unknown,
            logits={name: _array(one) for name, one in logits.items()},
            activations={name: _array(vectors[name]) for name in self.tree.nodes},
            root=root,
            gates=gates,
        )

    def _answers(self, seen: Seen, way: Way) -> list[Prediction]:
        traces: list[list[Step]] = [[] for _ in range(len(seen))]
        answers = {name: way.answers(self.tree, seen, node) for name, node in self.tree.nodes.items()}
        scores = {name: self.stops[name].scorer(mine) for name, mine in answers.items()}
        for visit in descend(self.tree, way, lambda name: scores[name] >= self.stops[name].choice.value):
            name, labels = visit.node.name, visit.node.labels
            threshold, here = self.stops[name].choice.value, np.flatnonzero(visit.here)
            turn = way.turn[name][here]
            # Plain numbers at once: taken from arrays one at a time they cost more than a small parent.
            columns = (
                here.tolist(),
                turn.tolist(),
                softmax(answers[name].logits)[here, turn].tolist(),
                scores[name][here].tolist(),
                visit.accepted[here].tolist(),
            )
            for index, label, share, score, accepted in zip(*columns, strict=True):
                traces[index].append(Step(name, labels[label], share, score, threshold, accepted))
        return [_prediction(trace) for trace in traces]


def load(
    run: str | Path, device: str | None = None, *, trust: bool = False, threshold: str | int | None = None
) -> Predictor:
    """The finished run of a folder, ready for images.

    Weights come from the store, and what was fitted on held-out images is fitted on them again: nothing is
    trained or built, and what comes out has to agree with the run's results.

    Args:
        run: folder of a run of ``train`` or ``route``.
        device: where networks run, "cpu", "cuda" or "mps"; None for what the run was told.
        trust: build also what the run's configuration names of other packages, such as a parent of your own.
            Whoever wrote the configuration of a run from elsewhere decides what that runs.
        threshold: of a run with several thresholds the one that decides, by its number from 0 on or its rule,
            such as "fixed 0.5".

    Raises:
        InputError: for a device that is not there, a threshold that is not chosen or not there, what is not
            trusted, and if the folder has no finished run, the store has lost what it rests on, or
            configuration and results disagree.
    """
    folder, place = Path(run).absolute(), _device(device)
    results = _finished(folder)
    index = _chosen([record["threshold"]["rule"] for record in records(results)], threshold)
    outputs = _outputs(folder, results)
    config = read_yaml(folder / CONFIG)
    config |= {"outputs": str(outputs), "baselines": None}
    try:
        with store_at(outputs / "store").only_finding():
            return _predictor(_parsed(config, trust), results, place, index)
    except UntrustedError as error:
        raise InputError(
            f"{folder / CONFIG}: {str(error).rstrip('.')}: add --trust (in Python trust=True) if you trust "
            "whoever wrote it."
        ) from None


def _parsed(config: Mapping[str, Any], trust: bool) -> Experiment:
    """An experiment from a configuration that may be anybody's, or none at all."""
    try:
        return Experiment.from_values(config, trusted=trust)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The {CONFIG} of the run is not one that this program writes ({type(error).__name__}: {error}): "
            "repeat the run."
        ) from error


def _device(name: str | None) -> torch.device | None:
    if name is None:
        return None
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device is {name!r}, which cannot be used here: it must be cpu, cuda or mps."
        ) from error
    return device


def _finished(folder: Path) -> dict[str, Any]:
    """The results of a finished run.

    Raises:
        InputError: if the folder has none, or they are of another version.
    """
    try:
        results = read_results(folder)
        decided = results["status"] == "completed" and _decided(results)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError) and "schema_version" in str(error):
            raise
        decided = False
    if not decided:
        raise InputError(
            f"The folder {folder} has no {RESULTS} of a finished run: name a folder that train or route made."
        )
    return results


def _decided(results: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the answers of a run: place in its results → value."""
    values = {name: results.get(name) for name in ("command", "classes", "router")}
    values |= {f"artifacts.{name}.key": entry["key"] for name, entry in results["artifacts"].items()}
    if results["router"]:
        thresholds = {
            f"thresholds.{index}.arrivals.{name}.thresholds.{kind}": one
            for index, entry in enumerate(results["thresholds"])
            for name, node in entry["arrivals"].items()
            for kind, one in node["thresholds"].items()
        }
    else:
        thresholds = {
            f"nodes.{name}.thresholds.{index}.threshold": entry["threshold"]
            for name, node in results["nodes"].items()
            for index, entry in enumerate(node["thresholds"])
        }
    for place, one in thresholds.items():
        value = one["value"]
        finite = value is not None and math.isfinite(value)  # what accepts nothing is null in the file
        values[f"{place}.value"] = float(value) if finite else None
    return values


def _outputs(folder: Path, results: Mapping[str, Any]) -> Path:
    """The folder of the store that has every artifact of a run: around the run, or where it was made.

    Raises:
        InputError: if there is none.
    """
    kept = [Path(entry["path"]) for entry in results["artifacts"].values()]
    for outputs in (*folder.parents, kept[0].parents[2]):
        if all((outputs / "store" / path.parent.name / path.name).is_dir() for path in kept):
            return outputs
    lost = next((path for path in kept if not path.is_dir()), kept[0])
    raise InputError(f"The run {folder} rests on {lost}, which is gone: repeat the run that made it.")


def _refuse_other(found: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Refuse what is not the run any more: its configuration gives other answers than its results say."""
    mine, theirs = _decided(found), _decided(kept)
    for place in {**theirs, **mine}:
        one, other = mine.get(place), theirs.get(place)
        numbers = isinstance(one, float) and isinstance(other, float)
        # Scores are worked out again, on this processor.
        same = math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6) if numbers else one == other  # type: ignore[arg-type]
        if not same:
            raise InputError(
                f"{place} is {other} in the run's {RESULTS}, and its {CONFIG} and store give {one}: they do "
                "not belong together, so repeat the run."
            )


def _chosen(rules: Sequence[str], threshold: str | int | None) -> int:
    """The number of the threshold that decides.

    Raises:
        InputError: if none is chosen among several, or there is no such threshold.
    """
    numbers = [str(index) for index in range(len(rules))]
    if threshold is None and len(rules) == 1:
        return 0
    if str(threshold) in numbers:
        return int(str(threshold))
    if threshold in rules:
        return rules.index(str(threshold))
    there = ", ".join(f"{index} ({rule})" for index, rule in enumerate(rules))
    given = "is not given" if threshold is None else f"is {threshold!r}"
    raise InputError(f"--threshold {given}: the run has {there}; name one by its number or its rule.")


def _predictor(
    experiment: Experiment, results: Mapping[str, Any], device: torch.device | None, index: int
) -> Predictor:
    """A finished run, found again, with one of its thresholds."""
    router = experiment.router
    if router and router.bound:
        raise InputError(f"router={router.kind} is a bound and answers no new image: choose another.")
    done = pipeline.run(experiment)
    _refuse_other(done.results, results)
    workspace, tree = Workspace.of(experiment, done.table), experiment.tree
    asked = experiment.gates if router and router.asks_gate else {}
    if done.tree:
        stops = done.tree.thresholds[index].stops
    else:
        stops = {name: one.thresholds[index].branch.stop for name, one in done.nodes.items()}
    rows = done.table.rows("test", tree.classes)
    return Predictor(
        tree,
        load_parent(workspace),
        {name: _head(workspace, spec) for name, spec in experiment.branches.items()},
        {name: _head(workspace, spec) for name, spec in asked.items()},
        experiment.parent.labels.columns_of(tree.nodes[tree.root].groups) if router else None,
        done.tree.guide if done.tree else None,
        stops,
        experiment.data.input,
        device or experiment.compute.device(),
        done.table.examples()[rows[:: -(-len(rows) // EXAMPLES)]],
    )


def _head(workspace: Workspace, spec: BranchSpec) -> Head:
    branch = load_branch(spec, ensure_branch(workspace, spec))
    return Head(branch, spec.stage, spec.readout, spec.trunk.name if spec.trunk else None)


def _prediction(trace: Sequence[Step]) -> Prediction:
    accepted = [step for step in trace if step.accepted]
    confidence = math.prod(step.probability for step in accepted) if accepted else 0.0
    whole = len(accepted) == len(trace)
    answer = accepted[-1].label if accepted else None
    return Prediction(answer, tuple(step.label for step in accepted), confidence, whole, tuple(trace))


def _array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array
