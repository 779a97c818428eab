"""What a finished run answers to new images."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neural_branching import pipeline, system_pipeline
from neural_branching.artifacts import ensure_branch, ensure_data, ensure_parent, load_branch, load_parent
from neural_branching.branch import Branch
from neural_branching.config import UntrustedError
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.evaluation.stops import Stop
from neural_branching.parent import Parent
from neural_branching.reading import read_json, read_yaml
from neural_branching.readout import Readout
from neural_branching.routing.descent import Guide, Seen, Way, descend, travel
from neural_branching.routing.hierarchy import ROOT, Node, Tree
from neural_branching.routing.routers import ParentMass
from neural_branching.runs import CONFIG, RESULTS
from neural_branching.selection.arrays import Floats
from neural_branching.selection.scores.outputs import softmax
from neural_branching.settings import Settings
from neural_branching.store import Artifact, Store, store_at
from neural_branching.system import System

T = TypeVar("T")

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
        answer: a class; where the system backs off the name of a node; None for no answer.
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
    """A trained branch or a system of branches, ready for images.

    Args:
        tree: the tree; of a single branch, a root that is a leaf.
        parent: the frozen parent.
        heads: node → branch, a node before those that grow from it.
        gates: inner node → its gate, if the router asks one.
        columns: the parent's logits of each node below the root; None where they are not asked.
        guide: the fitted router.
        stops: node → its fitted score and threshold.
        image_size: side of the images in pixels.
        device: where networks run.
        examples: some of the images that the run was judged by, uint8 (n, 3, size, size).
    """

    def __init__(
        self,
        tree: Tree,
        parent: Parent,
        heads: Mapping[str, Head],
        gates: Mapping[str, Head],
        columns: Sequence[Sequence[int]] | None,
        guide: Guide,
        stops: Mapping[str, Stop],
        image_size: int,
        device: torch.device,
        examples: NDArray[np.uint8],
    ) -> None:
        self.tree, self.guide, self.stops, self.columns = tree, guide, stops, columns
        self.image_size, self.device, self.examples = image_size, device, examples
        self.parent = parent.to(device).eval()
        self.heads, self.gates = heads, gates
        for head in (*heads.values(), *gates.values()):
            head.branch.to(device).eval()

    @property
    def asks_logits(self) -> bool:
        """Whether the parent has to go to its end."""
        root = not self.tree.nodes[ROOT].leaf
        return root and (self.guide.router.asks_node or self.stops[ROOT].score.asks_activations)

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

    def predict(self, images: NDArray[np.uint8] | Tensor) -> list[Prediction]:
        """Answer images.

        Args:
            images: uint8, shape (n, 3, ``image_size``, ``image_size``), RGB.

        Raises:
            InputError: for another shape or type.
        """
        batch = torch.as_tensor(images)
        size = self.image_size
        if batch.dtype != torch.uint8 or tuple(batch.shape[1:]) != (3, size, size):
            raise InputError(
                f"images have shape {tuple(batch.shape)} and type {batch.dtype}: give uint8 of shape "
                f"(n, 3, {size}, {size})."
            )
        if not len(batch):
            return []
        seen = self.look(batch)
        way = travel(self.tree, seen, self.guide)
        return self._answers(seen, way)

    @torch.inference_mode()
    def look(self, images: Tensor) -> Seen:
        """What every node says of some images, from one pass of the parent.

        Args:
            images: uint8, shape (n, 3, ``image_size``, ``image_size``).
        """
        token = self.parent.network.has_class_token
        outputs = dict(self.parent.walk(images.to(self.device), self.stages))
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
        if ROOT not in self.heads:
            vectors[ROOT] = outputs["logits"] if self.asks_logits else torch.empty(len(images), 0)
            if self.asks_logits and self.columns is not None:
                shares = softmax(_array(outputs["logits"]))
                root = np.stack([shares[:, list(mine)].sum(axis=1) for mine in self.columns], axis=1)
        unknown = np.full(len(images), -1)
        return Seen(
            rows=np.arange(len(images)),
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


def load(run: str | Path, device: str | None = None, *, trust: bool = False) -> Predictor:
    """The finished run of a folder, ready for images.

    Weights come from the store, and what was fitted on held-out images is fitted on them again: nothing is
    trained or built, and what comes out has to agree with the run's results.

    Args:
        run: folder of a run of ``train`` or ``route``.
        device: where networks run, "cpu", "cuda" or "mps"; None for what the run was told.
        trust: build also what the run's configuration names of other packages, such as a parent of your own.
            Whoever wrote the configuration of a run from elsewhere decides what that runs.

    Raises:
        InputError: for a device that is not there, for what is not trusted, and if the folder has no
            finished run, the store has lost what it rests on, or configuration and results disagree.
    """
    folder, place = Path(run).absolute(), _device(device)
    results = _finished(folder)
    outputs = _outputs(folder, results)
    config = read_yaml(folder / CONFIG)
    config |= {"outputs": str(outputs), "baselines": None}
    try:
        with store_at(outputs / "store").only_finding():
            if results["command"] == "route":
                return _of_system(_parsed(System.from_values, config, trust), results, place)
            return _of_branch(_parsed(Settings.from_values, config, trust), results, place)
    except UntrustedError as error:
        raise InputError(
            f"{folder / CONFIG}: {str(error).rstrip('.')}: add --trust (in Python trust=True) if you trust "
            "whoever wrote it."
        ) from None


def _parsed(parse: Callable[..., T], config: Mapping[str, Any], trust: bool) -> T:
    """Settings from a configuration that may be anybody's, or none at all."""
    try:
        return parse(config, trusted=trust)
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
        InputError: if the folder has none.
    """
    try:
        results: dict[str, Any] = read_json(folder / RESULTS)
        _decided(results)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The folder {folder} has no {RESULTS} of a finished run: name a folder that train or route made."
        ) from error
    return results


def _decided(results: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the answers of a run: place in its results → value."""
    values = {name: results.get(name) for name in ("command", "classes", "router")}
    values |= {f"artifacts.{name}.key": entry["key"] for name, entry in results["artifacts"].items()}
    thresholds = {"": {"": results["threshold"]}} if results["command"] == "train" else {
        f"nodes.{name}.": {f"s.{kind}": one for kind, one in node["thresholds"].items()}
        for name, node in results["nodes"].items()
    }  # fmt: skip
    for place, kinds in thresholds.items():
        for kind, one in kinds.items():
            value = one["value"]
            finite = value is not None and math.isfinite(value)  # what accepts nothing is null in the file
            values[f"{place}threshold{kind}.value"] = float(value) if finite else None
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


def _of_branch(settings: Settings, results: Mapping[str, Any], device: torch.device | None) -> Predictor:
    done = pipeline.run(settings)
    _refuse_other(done.results, results)
    judged = done.evaluation.branch
    groups = tuple((name,) for name in settings.classes)
    shelf = _Shelf.of(settings)
    return Predictor(
        Tree(settings.subset.name, {ROOT: Node(ROOT, None, settings.classes, groups, leaf=True)}),
        shelf.parent(settings),
        {ROOT: shelf.head(settings)},
        {},
        None,
        Guide(ParentMass(), {}),  # there is no way to choose
        {ROOT: Stop(settings.score, judged.scorer, judged.choice, settings.threshold)},
        settings.image_size,
        device or settings.compute.device(),
        shelf.examples(settings),
    )


def _of_system(system: System, results: Mapping[str, Any], device: torch.device | None) -> Predictor:
    if system.router.bound:
        raise InputError(f"router={system.router.kind} is a bound and answers no new image: choose another.")
    done = system_pipeline.run_system(system)
    _refuse_other(done.results, results)
    evaluation, shelf = done.evaluation, _Shelf.of(system.base)
    inner = [name for name, node in system.tree.nodes.items() if not node.leaf and system.router.asks_gate]
    return Predictor(
        system.tree,
        shelf.parent(system.base),
        {name: shelf.head(settings) for name, settings in system.nodes.items()},
        {name: shelf.head(system.gate(name)) for name in inner},
        system.base.labels.columns_of(system.tree.nodes[ROOT].groups),
        evaluation.guide,
        evaluation.stops,
        system.base.image_size,
        device or system.base.compute.device(),
        shelf.examples(system.base),
    )


@dataclass(frozen=True)
class _Shelf:
    """Where a run's networks are found."""

    store: Store
    table: DataTable
    weights: Artifact

    @classmethod
    def of(cls, settings: Settings) -> "_Shelf":
        store = store_at(settings.outputs / "store")
        table = ensure_data(settings, store)
        return cls(store, table, ensure_parent(settings, store, table))

    def parent(self, settings: Settings) -> Parent:
        return load_parent(settings, self.weights)

    def examples(self, settings: Settings) -> NDArray[np.uint8]:
        rows = self.table.rows("test", settings.classes)
        images: NDArray[np.uint8] = self.table.images()[rows[:: -(-len(rows) // EXAMPLES)]]
        return images

    def head(self, settings: Settings) -> Head:
        artifact = ensure_branch(settings, self.store, self.table, self.weights)
        trunk = settings.trunk.subset.name if settings.trunk else None
        return Head(load_branch(settings, artifact), settings.stage, settings.readout, trunk)


def _prediction(trace: Sequence[Step]) -> Prediction:
    accepted = [step for step in trace if step.accepted]
    confidence = math.prod(step.probability for step in accepted) if accepted else 0.0
    whole = len(accepted) == len(trace)
    answer = accepted[-1].label if accepted else None
    return Prediction(answer, tuple(step.label for step in accepted), confidence, whole, tuple(trace))


def _array(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array
