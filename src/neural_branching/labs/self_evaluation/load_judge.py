"""The judge that a finished study has come to, found again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from neural_branching.artifacts.activations import fitting_batch
from neural_branching.artifacts.build_networks import outline
from neural_branching.artifacts.ensure_branch import load_branch
from neural_branching.artifacts.outputs import TrainedBranch
from neural_branching.artifacts.workspace import load_parent
from neural_branching.errors import one_of
from neural_branching.labs.self_evaluation.answer_judge import (
    ClassifierJudge,
    Decision,
    Judge,
    LanguageModelJudge,
    LensJudge,
)
from neural_branching.labs.self_evaluation.confidences import BOTH, BRANCH
from neural_branching.labs.self_evaluation.run_self_evaluation import (
    COMMAND,
    check,
    networks_of,
    study_stages,
    workspace_of,
)
from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec
from neural_branching.labs.self_evaluation.stage_branches import READOUT, lens_of, stage_branches
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.predictor import Head, HeadNetworks
from neural_branching.store.artifact_store import store_at

EXAMPLES = 256  # at most


@dataclass(frozen=True)
class _Decided:
    """What decides the answers of a study's first split."""

    seed: str
    stage: str
    confidence: str
    told: float  # its AUROC on validation
    threshold: float | None
    artifacts: Mapping[str, str]  # name → key

    def places(self) -> dict[str, Any]:
        """Place in results → value."""
        seed, stage, name = self.seed, self.stage, self.confidence
        finite = self.threshold is not None and math.isfinite(self.threshold)
        return {
            "command": COMMAND,
            f"seeds.{seed}.judge": {"stage": stage, "confidence": name},
            f"seeds.{seed}.stages.{stage}.validation.{name}": self.told,
            # What accepts nothing is null in the file.
            f"seeds.{seed}.stages.{stage}.confidences.{name}.threshold": self.threshold if finite else None,
            **{f"artifacts.{one} {seed}.key": key for one, key in self.artifacts.items()},
        }


def decided(results: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the answers of a study's first split: place in its results → value.

    Raises:
        KeyError, TypeError, ValueError: for what are no results of a study.
    """
    seed, first = next(iter(results["seeds"].items()))
    stage, name = (str(first["judge"][one]) for one in ("stage", "confidence"))
    told = first["stages"][stage]["validation"][name]
    if any(one > told for at in first["stages"].values() for one in at["validation"].values()):
        raise ValueError(f"{name} at {stage} is not what validation prefers")
    value = first["stages"][stage]["confidences"][name]["threshold"]
    networks = ("data", "parent", f"{BRANCH} {stage}", f"{READOUT} {stage}")
    kept = {one: results["artifacts"].get(f"{one} {seed}") for one in networks}
    keys = {one: str(entry["key"]) for one, entry in kept.items() if entry}
    return _Decided(seed, stage, name, float(told), None if value is None else float(value), keys).places()


def load_judge(
    spec: SelfEvaluationSpec, results: Mapping[str, Any], device: torch.device | None
) -> tuple[Judge, dict[str, Any]]:
    """The judge of a study's first split, with the stage and the confidence that its results name.

    What was fitted on held-out examples is fitted on them again.

    Args:
        spec: the study.
        results: its results.
        device: where networks run; None for what the study was told.

    Returns:
        The judge, and what ``decided`` gives for it.

    Raises:
        InputError: if the results name what the study has not, or the store has lost what the study rests on.
    """
    check(spec)
    spec.compute.apply()
    seed, first = next(iter(results["seeds"].items()))
    place = f"seeds.{seed}.judge in the run's results"
    stage = one_of(first["judge"]["stage"], study_stages(spec), place)
    spec = spec.repeat(0)
    workspace = workspace_of(spec, store_at(spec.outputs / "store"))
    [found] = stage_branches(spec, workspace, [stage])
    name = one_of(first["judge"]["confidence"], found.with_branch, place)
    threshold = found.rater(spec).choice(found.with_branch[name]).value
    decision = Decision(stage, found.both if name == BOTH else None, threshold)
    device, parent = device or spec.compute.device(), load_parent(workspace)
    heads = {BRANCH: _head(found.head)} | ({READOUT: _head(found.readout)} if found.readout else {})
    rows = found.rows["test"]
    some = workspace.examples().examples()[rows[:: -(-len(rows) // EXAMPLES)]]
    networks = HeadNetworks(parent, heads, {}, spec.parent.kept.dtype)
    inputs, at_once = spec.data.input, fitting_batch(outline(spec.parent), spec.parent.input.blank(), device)
    judge: Judge
    if labels := spec.parent.labels.names:
        judge = ClassifierJudge(labels, decision, networks, inputs, device, some, at_once)
    else:
        options = spec.generation, decision, networks, inputs, device, some, at_once
        if spec.through_lens:
            judge = LensJudge(lens_of(spec, device), *options)
        else:
            network = outline(spec.parent).network
            assert isinstance(network, HuggingFaceText)
            judge = LanguageModelJudge(network.answering(), *options)
    artifacts = {"data": workspace.table.artifact, "parent": workspace.weights, **networks_of(stage, found)}
    keys = {one: artifact.key for one, artifact in artifacts.items()}
    return judge, _Decided(seed, stage, name, found.validation[name], threshold, keys).places()


def _head(trained: TrainedBranch) -> Head:
    branch = load_branch(trained.spec, trained.artifacts["branch"])
    return Head(branch, trained.spec.stage, trained.spec.readout)
