"""A study on one page: parent → its answers → branches that tell right from wrong → what they are worth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.build_networks import check_branch, check_budget, check_parent, outline
from neural_branching.artifacts.ensure_branch import ensure_logits
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.ensure_parent import ensure_parent
from neural_branching.artifacts.outputs import TrainedBranch
from neural_branching.artifacts.trained_weights import HISTORY
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.data.split import CODES, LEFT_OUT, SPLITS, TRAIN
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.files.progress import progress
from neural_branching.labs.self_evaluation.confidences import (
    BRANCH,
    WITH_BRANCH,
    Rows,
    own_confidences,
    with_branch,
)
from neural_branching.labs.self_evaluation.parent_answers import ParentAnswers, agreeing
from neural_branching.labs.self_evaluation.rating import Rater
from neural_branching.labs.self_evaluation.self_evaluation_spec import RIGHT, WRONG, SelfEvaluationSpec
from neural_branching.labs.self_evaluation.targets import AgreesWithFinal
from neural_branching.labs.self_evaluation.written_answers import (
    accepted_answers,
    ensure_written,
    graded,
    read_written,
    seen_texts,
)
from neural_branching.labs.study_run import origin
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.networks.readout import stages_of
from neural_branching.selection.array_types import Bool, Float64, Int64
from neural_branching.selection.exchangeability import shifts
from neural_branching.selection.risk_coverage import failure_auroc
from neural_branching.store.artifact_store import Artifact, store_at
from neural_branching.training.history import History

Numbers = dict[str, Any]
NOT_ASKED = "not asked"  # the label of rows that the parent is not asked about
READOUT = "readout"


@dataclass(frozen=True)
class SelfEvaluation:
    """What a study found.

    Attributes:
        results: what results.json will hold.
        histories: of every network that was trained, its epochs.
    """

    results: Numbers
    histories: Mapping[str, History]


def check(spec: SelfEvaluationSpec) -> None:
    """Check what only networks know.

    Raises:
        InputError: as ``check_parent`` and ``check_branch``; for a stage behind the parent's answer, and a
            language model that writes none.
    """
    spec.compute.device()
    check_parent(spec.parent)
    network = outline(spec.parent).network
    if not spec.parent.labels.names and not (isinstance(network, HuggingFaceText) and network.last_token):
        raise InputError(
            f"parent={spec.parent.name} writes no answers and gives no logits: choose a causal language "
            "model, or a parent that classifies."
        )
    for stage in spec.stages or ():
        for one in stages_of(stage):
            if network.place(one, "stages") >= _answered_at(spec):
                raise InputError(
                    f"stages has {one!r}, which is not before the parent's answer: choose among "
                    f"{', '.join(_stages(replace(spec, stages=None)))}."
                )
    for stage in _stages(spec):
        check_branch(spec.parent, spec.at(stage))


def check_table(spec: SelfEvaluationSpec, table: DataTable) -> None:
    """Check that there is room for the activations, and that every question has an answer.

    Raises:
        InputError: if not.
    """
    if not spec.parent.labels.names:
        accepted_answers(table, spec.data.source)
    for stage in _stages(spec):
        check_budget(spec.parent, spec.at(stage), len(table), len(table.rows("train")))


def run(
    spec: SelfEvaluationSpec, overrides: Sequence[str] = (), fingerprint: str | None = None
) -> SelfEvaluation:
    """Train what is missing and measure everything.

    Args:
        spec: what to do.
        overrides: what the user typed.
        fingerprint: of the data that is expected; None for any.

    Raises:
        InputError: as ``check`` and ``check_table``, and if all answers are right, or all wrong.
    """
    check(spec)
    spec.compute.apply()
    store = store_at(spec.outputs / "store")
    stages, named, seeds = _stages(spec), dict[str, Artifact](), dict[str, Numbers]()
    # Weights that learn nothing of a split are those of every split.
    fixed = not spec.parent.learns and spec.parent.normalize == "none"
    weights: Artifact | None = None
    with progress("Self-evaluation") as show:
        for place in range(spec.repeats):
            one = spec.repeat(place)
            table = ensure_data(one.data, store, fingerprint=fingerprint)
            check_table(one, table)
            if weights is None or not fixed:
                weights = ensure_parent(store, one.data, table, one.compute, one.parent)
            workspace = Workspace(store, one.data, table, one.compute, one.parent, weights)
            trained = {"data": table.artifact, "parent": weights}
            seeds[str(one.data.split.seed)] = _seed(one, workspace, stages, trained)
            named |= {f"{name} {one.data.split.seed}": artifact for name, artifact in trained.items()}
            show((place + 1) / spec.repeats)
    results = {
        "command": "judge",
        "status": "completed",
        "data": spec.data.name,
        "parent": spec.parent.name,
        "target": spec.target.kind,
        "right": spec.target.phrase,
        "threshold": str(spec.threshold),
        "promise": spec.threshold.promise,
        "after": None if spec.parent.labels.names else spec.generation.branch_after,
        "stages": list(stages),
        "seeds": seeds,
        "shifts": _shifts(seeds),
        **origin(store, named, spec.compute, overrides),
    }
    trainings = {name: artifact for name, artifact in named.items() if artifact.kind in ("parent", "branch")}
    return SelfEvaluation(
        results, {name.replace(" ", "/"): artifact.json(HISTORY) for name, artifact in trainings.items()}
    )


def _seed(
    spec: SelfEvaluationSpec, workspace: Workspace, stages: Sequence[str], trained: dict[str, Artifact]
) -> Numbers:
    """Everything of one split: what was asked, and by stage what every confidence is worth."""
    by_stage, alone, counts = dict[str, Numbers](), dict[str, Numbers](), Numbers()
    for stage, seen, answers in _answered(spec, workspace, stages, trained):
        asked = _asked(seen.table, answers.right, spec.classes)
        rows = {split: asked.rows(split, (WRONG, RIGHT)) for split in SPLITS}
        _refuse_one_outcome(spec, rows, answers.right)
        head = TrainedBranch.of(replace(seen, table=asked), spec.at(stage))
        trained[f"{BRANCH} {stage}"] = head.artifacts["branch"]
        odds = np.diff(head.all_logits.astype(np.float64), axis=1)[:, 0]
        scores = {**own_confidences(answers, rows), **with_branch(answers, odds, rows)}
        found = Rater(~answers.right, rows, asked.groups, spec.threshold).rate(scores, answers.name)
        if not isinstance(spec.target, AgreesWithFinal):  # which asks another readout at every stage
            alone = {name: found.pop(name) for name in [*found] if name not in WITH_BRANCH}
        by_stage[stage] = {
            "right": {split: float(answers.right[one].mean()) for split, one in rows.items()},
            "validation": _validation_auroc(odds, answers.right, rows["validation"]),
            "confidences": found,
        }
        counts = {"n": {split: len(one) for split, one in rows.items()}, "groups": _groups(asked, rows)}
    return {
        **counts,
        "chosen": max(by_stage, key=lambda name: by_stage[name]["validation"]),
        "own": answers.name,
        "without_branch": alone,
        "stages": by_stage,
    }


def _groups(table: DataTable, rows: Rows) -> dict[str, int] | None:
    """Number of groups in each split; None where there are none."""
    groups = table.groups
    return None if groups is None else {split: len(np.unique(groups[some])) for split, some in rows.items()}


def _answered(
    spec: SelfEvaluationSpec, workspace: Workspace, stages: Sequence[str], trained: dict[str, Artifact]
) -> Iterator[tuple[str, Workspace, ParentAnswers]]:
    """For each stage what its branch sees, and the answers that it is to tell apart."""
    if not spec.parent.labels.names:
        network = outline(spec.parent).network
        assert isinstance(network, HuggingFaceText)
        artifact = ensure_written(workspace, network, spec.generation)
        written = read_written(artifact)
        answers = ParentAnswers.of_texts(written, graded(workspace, written))
        seen = seen_texts(workspace, artifact, spec.generation)
        yield from ((stage, seen, answers) for stage in stages)
        return
    logits = act.read(ensure_logits(workspace), "logits").numpy()
    labels, table = spec.parent.labels, workspace.table
    if isinstance(spec.target, AgreesWithFinal):
        for stage in stages:
            readout = TrainedBranch.of(_of_the_parent(workspace), _readout(spec, stage))
            trained[f"{READOUT} {stage}"] = readout.artifacts["branch"]
            yield stage, workspace, agreeing(readout.all_logits, logits)
        return
    targets = labels.targets(table.classes)[table.labels]
    answers = ParentAnswers.of_logits(logits, logits.argmax(axis=1) == targets, targets)
    yield from ((stage, workspace, answers) for stage in stages)


def _asked(table: DataTable, right: Bool[np.ndarray, " n"], classes: Sequence[str]) -> DataTable:
    """The same rows with another question: is the answer right? Rows of other classes are not asked about."""
    mine = np.isin(table.labels, table.indices(classes))
    labels = np.where(mine, right.astype(np.int64), 2)
    digest = sha256(f"{table.split_key}/".encode() + labels.tobytes()).hexdigest()
    return replace(table, classes=(WRONG, RIGHT, NOT_ASKED), labels=labels, split_key=digest)


def _of_the_parent(workspace: Workspace) -> Workspace:
    """The workspace in which branches learn from what the parent has learned from."""
    table, parent = workspace.table, CODES.index("parent")
    split = np.where(table.split == parent, TRAIN, table.split)
    split[table.split == CODES.index("branch")] = LEFT_OUT
    return replace(
        workspace, table=replace(table, split=split.astype(np.int8), split_key=f"{table.split_key}/parent")
    )


def _readout(spec: SelfEvaluationSpec, stage: str) -> BranchSpec:
    """A branch like the others that tells the parent's labels apart."""
    of = spec.parent.labels.of
    groups = tuple(
        tuple(name for name, label in of.items() if label == one) for one in spec.parent.labels.names
    )
    return replace(spec.at(stage), name=READOUT, groups=groups)


def _refuse_one_outcome(spec: SelfEvaluationSpec, rows: Rows, right: Bool[np.ndarray, " n"]) -> None:
    for split, some in rows.items():
        if right[some].all() or not right[some].any():
            outcome = "right" if right[some].all() else "wrong"
            word = "right" if spec.parent.labels.names or outcome == "right" else "accepted"
            state = "are all right" if outcome == "right" else f"hold none that is {word}"
            raise InputError(
                f"The {len(some)} answers of parent={spec.parent.name} to the examples of {split} {state}: a "
                "branch tells right answers from wrong ones, and needs both in every split."
            )


def _validation_auroc(
    odds: Float64[np.ndarray, " n"], right: Bool[np.ndarray, " n"], rows: Int64[np.ndarray, " m"]
) -> float:
    return failure_auroc(odds[rows], ~right[rows])


def by_place(seed: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Stage and confidences there of one split; first, at no stage (""), those that take no branch."""
    if seed["without_branch"]:
        yield "", seed["without_branch"]
    yield from ((stage, at["confidences"]) for stage, at in seed["stages"].items())


def _shifts(seeds: Mapping[str, Numbers]) -> Numbers:
    """Of how many tests of exchangeability the study has how many see a shift, all of them counted (Holm)."""
    tests = {
        (seed, stage, name): found["exchangeability"]["p_value"]
        for seed, one in seeds.items()
        for stage, confidences in by_place(one)
        for name, found in confidences.items()
    }
    seen = [place for place, shifted in zip(tests, shifts(list(tests.values())), strict=True) if shifted]
    return {"tests": len(tests), "shifted": [{"seed": s, "stage": t, "confidence": c} for s, t, c in seen]}


def _stages(spec: SelfEvaluationSpec) -> tuple[str, ...]:
    """Those asked for, or the main stages before the parent's answer."""
    if spec.stages is not None:
        return spec.stages
    parent = outline(spec.parent)
    names = act.main_stages(parent, spec.parent.input.blank())
    return tuple(name for name in names if parent.network.place(name, "stages") < _answered_at(spec))


def _answered_at(spec: SelfEvaluationSpec) -> float:
    """Place of the parent's answer among its stages; behind all of them where it writes one."""
    return (
        outline(spec.parent).network.place("logits", "stages") if spec.parent.labels.names else float("inf")
    )
