"""What a branch must be compared with: simpler heads, other parents, and no parent at all.

Every baseline is a variation of the run's own parent or branch, built and kept by the same functions as
these.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.branch_cost import head_cost, parent_cost
from neural_branching.artifacts.ensure_branch import (
    ensure_activations,
    ensure_branch,
    ensure_logits,
    load_branch,
)
from neural_branching.artifacts.trained_weights import WEIGHTS
from neural_branching.artifacts.word_baseline import LOGITS, ensure_words
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.experiment import BASELINES
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.inputs.text_inputs import TextInputs
from neural_branching.data.labels import Labels
from neural_branching.evaluation.outcomes import Outcome, differences, outcome
from neural_branching.selection import Answers
from neural_branching.store.artifact_store import Artifact, Facts
from neural_branching.training.recipe import Recipe

log = logging.getLogger(__name__)

RECIPE = 1
VOTES = "votes.safetensors"
NEIGHBOURS = (1, 5, 10, 20, 50)
LINEAR = {"_target_": "neural_branching.networks.mlp.MLP", "widths": [], "dropout": 0.0}


@dataclass(frozen=True)
class Model:
    """Something that answers the branch's question, and what it costs.

    Attributes:
        logits: float32 (test examples, classes).
        macs: multiply–accumulates per example, from the input on.
        trained: number of parameters that were trained for this subset.
        seconds: how long that training took, when it was done.
    """

    logits: Tensor
    macs: int
    trained: int
    seconds: float


def baselines(
    workspace: Workspace, branch: BranchSpec, chosen: Sequence[str], epochs: int | None, answers: Answers
) -> dict[str, Any]:
    """The baselines that were asked for, each beside a branch on the same test examples.

    Args:
        workspace: what the branch grows from.
        branch: the branch.
        chosen: names among ``BASELINES``.
        epochs: epochs of those that learn as the parent does; None for as many as it has.
        answers: the branch's answers to the test examples of its classes.

    Returns:
        "branch" and the name of each baseline → accuracy, AURC by the largest softmax probability,
        cost, and the branch's lead with its interval; None where a baseline does not apply. Empty if
        none was asked for.
    """
    if not chosen:
        return {}
    bench = _Bench(workspace, branch, epochs)
    mine = outcome(answers.logits, answers.targets, answers.groups)
    result: dict[str, Any] = {"branch": _record(mine, bench.branch(workspace, branch))}
    for name in chosen:
        model = bench.models[name]()
        if model is None:
            log.info("The baseline %s does not apply to the parent %s.", name, workspace.parent.name)
            result[name] = None
            continue
        theirs = outcome(model.logits.numpy(), answers.targets, answers.groups)
        result[name] = {**_record(theirs, model), "branch_lead": differences(mine, theirs)}
    return result


def _record(one: Outcome, model: Model) -> dict[str, Any]:
    numbers = {"n": len(one.error), "accuracy": one.accuracy, "aurc": one.aurc}
    return {
        **numbers,
        "macs": model.macs,
        "trained_parameters": model.trained,
        "training_seconds": model.seconds,
    }


class _Bench:
    """Builds each baseline of one branch."""

    def __init__(self, workspace: Workspace, branch: BranchSpec, epochs: int | None) -> None:
        self.workspace, self.spec, self.epochs = workspace, branch, epochs
        self.rows = workspace.table.rows("test", branch.classes)
        learns = workspace.parent.recipe is not None
        untrained = replace(workspace.parent.anew(), recipe=None, exits={})
        self.models: dict[str, Callable[[], Model | None]] = {
            "restricted": self.restricted,
            "linear_probe": lambda: self.branch(workspace, replace(branch, network=LINEAR)),
            "knn": self.neighbours,
            "random_parent": lambda: (
                self.branch(workspace.with_parent(untrained), branch)
                if untrained != workspace.parent
                else None
            ),
            "scratch": lambda: self.parent_anew(None) if learns else None,
            "fine_tuned": lambda: self.parent_anew(workspace.weights) if learns else None,
            "random_labels": lambda: self.branch(workspace, replace(branch, random_labels=True)),
            "tf_idf": self.words,
        }
        assert tuple(self.models) == BASELINES

    def branch(self, workspace: Workspace, spec: BranchSpec) -> Model:
        """A head on activations, of the run's parent or of an untrained one."""
        artifact = ensure_branch(workspace, spec)
        seen = act.read(ensure_activations(workspace, spec), spec.stage, self.rows)
        head = load_branch(spec, artifact)
        price = head_cost(spec, seen.shape[1])
        with torch.inference_mode():
            logits = head(seen)
        macs = parent_cost(workspace.parent, spec.stage).macs + price.macs
        return Model(logits, macs, price.parameters, float(artifact.manifest["seconds"]))

    def restricted(self) -> Model | None:
        """The parent's logits of the subset's classes; None if it does not know each of them."""
        parent = self.workspace.parent
        columns = parent.labels.columns(self.spec.classes)
        if columns is None:
            return None
        logits = act.read(ensure_logits(self.workspace), "logits", self.rows)[:, columns]
        return Model(logits, parent_cost(parent).macs, 0, 0.0)

    def neighbours(self) -> Model:
        """Votes of the nearest training examples in standardised activations; validation chooses how many."""
        workspace, spec, table = self.workspace, self.spec, self.workspace.table
        kept, branch = ensure_activations(workspace, spec), ensure_branch(workspace, spec)
        rows = {
            split: table.rows(split, spec.classes, per_class=spec.examples_per_class)
            for split in ("train", "validation", "test")
        }
        identity = {
            "recipe": RECIPE,
            "activations": act.checksum(kept, spec.stage),
            "split": table.split_key,
            "classes": spec.classes,
            "standardize": branch.sha(WEIGHTS),
            "neighbours": NEIGHBOURS,
        }
        if spec.examples_per_class:
            identity["examples_per_class"] = spec.examples_per_class

        def vote(folder: Path) -> Facts:
            standardize = load_branch(spec, branch).standardize
            from sklearn.neighbors import KNeighborsClassifier  # slow to import

            x = {name: standardize(act.read(kept, spec.stage, mine)).numpy() for name, mine in rows.items()}
            y = {name: act.subset_targets(table, mine, spec.groups) for name, mine in rows.items()}
            fitted = [
                KNeighborsClassifier(k, weights="distance").fit(x["train"], y["train"])
                for k in NEIGHBOURS
                if k <= len(x["train"])
            ]
            best = max(fitted, key=lambda one: one.score(x["validation"], y["validation"]))
            votes = torch.from_numpy(best.predict_proba(x["test"])).float()
            save_file({"votes": votes}, folder / VOTES)
            return {"k": best.n_neighbors}

        artifact = workspace.store.fetch("neighbours", identity, vote, needs=(VOTES,))
        votes = load_file(artifact.path / VOTES)["votes"]
        width = act.width(kept, spec.stage)
        prefix = parent_cost(workspace.parent, spec.stage).macs
        return Model((votes + 1e-6).log(), prefix + len(rows["train"]) * width, 0, 0.0)

    def words(self) -> Model | None:
        """A linear model of the words of a text; None of other examples."""
        workspace, spec = self.workspace, self.spec
        if not isinstance(workspace.parent.input, TextInputs):
            return None
        artifact = ensure_words(workspace, spec)
        facts = artifact.facts
        seconds = float(artifact.manifest["seconds"])
        return Model(load_file(artifact.path / LOGITS)["logits"], facts["macs"], facts["parameters"], seconds)

    def parent_anew(self, start: Artifact | None) -> Model:
        """The parent's architecture trained on the subset alone, anew or from the parent's weights."""
        spec = self._of_subset(gentle=start is not None)
        other = self.workspace.with_parent(spec, start)
        logits = act.read(ensure_logits(other), "logits", self.rows)
        price = parent_cost(spec)
        return Model(logits, price.macs, price.parameters, float(other.weights.manifest["seconds"]))

    def _of_subset(self, *, gentle: bool) -> ParentSpec:
        """The parent's architecture and recipe, for the subset's classes on the branch's training examples.

        Args:
            gentle: at a quarter of the learning rate, with as many epochs: the last layer starts anew and
                has to catch up.
        """
        parent, branch, classes = self.workspace.parent, self.spec, list(self.spec.classes)
        assert parent.recipe
        rate = parent.recipe.lr / 4 if gentle else parent.recipe.lr
        recipe = Recipe(**{**vars(parent.recipe), "epochs": self.epochs or parent.recipe.epochs, "lr": rate})
        return replace(
            parent.anew(),
            labels=Labels("fine", classes, self.workspace.data.classes, classes, {}),
            recipe=recipe.stretched(branch.stretch),
            seed=branch.seed,  # it stands in for the branch, and varies with it
            training_source="branch",
            examples_per_class=branch.examples_per_class,
            exits={},
        )
