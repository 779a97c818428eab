"""A study on one page: parent → its answers → branches that tell right from wrong → what they are worth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.build_networks import check_branch, check_budget, check_parent, outline
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.ensure_parent import ensure_parent
from neural_branching.artifacts.trained_weights import HISTORY
from neural_branching.artifacts.workspace import Workspace
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.files.progress import progress
from neural_branching.labs.self_evaluation.confidences import (
    BRANCH,
    WITH_BRANCH,
    Rows,
)
from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec
from neural_branching.labs.self_evaluation.stage_branches import READOUT, StageBranch, stage_branches
from neural_branching.labs.self_evaluation.targets import AgreesWithFinal
from neural_branching.labs.self_evaluation.written_answers import (
    accepted_answers,
)
from neural_branching.labs.study_run import origin
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.networks.readout import stages_of
from neural_branching.selection.exchangeability import shifts
from neural_branching.store.artifact_store import Artifact, Store, store_at
from neural_branching.training.history import History

Numbers = dict[str, Any]
COMMAND = "judge"


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
        if spec.through_lens and len(stages_of(stage)) > 1:
            raise InputError(
                f"stages has {stage!r}, which the parent's head cannot read: name single stages."
            )
        for one in stages_of(stage):
            if network.place(one, "stages") >= _answered_at(spec):
                raise InputError(
                    f"stages has {one!r}, which is not before the parent's answer: choose among "
                    f"{', '.join(study_stages(replace(spec, stages=None)))}."
                )
    for stage in study_stages(spec):
        check_branch(spec.parent, spec.at(stage))


def check_table(spec: SelfEvaluationSpec, table: DataTable) -> None:
    """Check that there is room for the activations, and that every question has an answer.

    Raises:
        InputError: if not.
    """
    if not spec.parent.labels.names and not spec.through_lens:
        accepted_answers(table, spec.data.source)
    for stage in study_stages(spec):
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
    stages, named, seeds = study_stages(spec), dict[str, Artifact](), dict[str, Numbers]()
    # Weights that learn nothing of a split are those of every split.
    fixed = not spec.parent.learns and spec.parent.normalize == "none"
    weights: Artifact | None = None
    with progress("Self-evaluation") as show:
        for place in range(spec.repeats):
            one = spec.repeat(place)
            workspace = workspace_of(one, store, fingerprint, weights if fixed else None)
            weights = workspace.weights
            trained = {"data": workspace.table.artifact, "parent": weights}
            seeds[str(one.data.split.seed)] = _seed(one, workspace, stages, trained)
            named |= {f"{name} {one.data.split.seed}": artifact for name, artifact in trained.items()}
            show((place + 1) / spec.repeats)
    results = {
        "command": COMMAND,
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


def workspace_of(
    spec: SelfEvaluationSpec, store: Store, fingerprint: str | None = None, weights: Artifact | None = None
) -> Workspace:
    """The parent of one split, found or trained, and its examples.

    Args:
        spec: the study of this split.
        store: where artifacts are kept.
        fingerprint: of the data that is expected; None for any.
        weights: the parent's, where they are known.

    Raises:
        InputError: as ``check_table``.
    """
    table = ensure_data(spec.data, store, fingerprint=fingerprint)
    check_table(spec, table)
    weights = weights or ensure_parent(store, spec.data, table, spec.compute, spec.parent)
    return Workspace(store, spec.data, table, spec.compute, spec.parent, weights)


def _seed(
    spec: SelfEvaluationSpec, workspace: Workspace, stages: Sequence[str], trained: dict[str, Artifact]
) -> Numbers:
    """Everything of one split: what was asked, and by stage what every confidence is worth."""
    by_stage, alone, counts = dict[str, Numbers](), dict[str, Numbers](), Numbers()
    for stage, one in zip(stages, stage_branches(spec, workspace, stages), strict=True):
        trained |= networks_of(stage, one)
        scores = {**one.without_branch, **one.with_branch}
        found = one.rater(spec).rate(scores, one.answers.name)
        if not isinstance(spec.target, AgreesWithFinal):  # the same answers at every stage
            alone = {name: found.pop(name) for name in [*found] if name not in WITH_BRANCH}
        by_stage[stage] = {
            "right": {split: float(one.answers.right[rows].mean()) for split, rows in one.rows.items()},
            "validation": one.validation,
            "confidences": found,
        }
        counts = {
            "n": {split: len(rows) for split, rows in one.rows.items()},
            "groups": _groups(one.table, one.rows),
            "own": one.answers.name,
        }
    told = {
        (stage, name): area for stage, one in by_stage.items() for name, area in one["validation"].items()
    }
    stage, confidence = max(told, key=lambda place: told[place])
    return {
        **counts,
        "chosen": max(by_stage, key=lambda stage: told[stage, BRANCH]),
        "judge": {"stage": stage, "confidence": confidence},
        "without_branch": alone,
        "stages": by_stage,
    }


def networks_of(stage: str, one: StageBranch) -> dict[str, Artifact]:
    """Name → what was trained for a stage."""
    several = {f"{BRANCH} {stage}": one.head}
    if one.readout:
        several[f"{READOUT} {stage}"] = one.readout
    return {name: trained.artifacts["branch"] for name, trained in several.items()}


def _groups(table: DataTable, rows: Rows) -> dict[str, int] | None:
    """Number of groups in each split; None where there are none."""
    groups = table.groups
    return None if groups is None else {split: len(np.unique(groups[some])) for split, some in rows.items()}


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


def study_stages(spec: SelfEvaluationSpec) -> tuple[str, ...]:
    """Those asked for, or the main stages before the parent's answer."""
    if spec.stages is not None:
        return spec.stages
    parent = outline(spec.parent)
    names = act.main_stages(parent, spec.parent.input.blank())
    return tuple(name for name in names if parent.network.place(name, "stages") < _answered_at(spec))


def _answered_at(spec: SelfEvaluationSpec) -> float:
    """Place of the parent's answer among its stages; behind all of them where it writes one.

    What its head reads of the last block is the answer itself.
    """
    network = outline(spec.parent).network
    if spec.parent.labels.names:
        return network.place("logits", "stages")
    if not spec.through_lens:
        return float("inf")
    assert isinstance(network, HuggingFaceText)
    return network.place(network.main_stages[-2], "stages")
