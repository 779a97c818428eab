"""What a branch must be compared with: simpler heads, other parents, and no parent at all.

Every baseline is a variation of the run's own settings, built and kept by the same functions as the
run itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from neural_branching import activations as act
from neural_branching.artifacts import (
    WEIGHTS,
    ensure_activations,
    ensure_branch,
    ensure_logits,
    ensure_parent,
    load_branch,
)
from neural_branching.cost import Cost, cost
from neural_branching.data.labels import Labels
from neural_branching.data.table import DataTable
from neural_branching.evaluation.baselines import Outcome, differences, outcome
from neural_branching.fit import Fit
from neural_branching.models import image_shape, new_branch, new_parent
from neural_branching.selection import Answers
from neural_branching.settings import BASELINES, Settings
from neural_branching.store import Artifact, Facts, Store

RECIPE = 1
VOTES = "votes.safetensors"
NEIGHBOURS = (1, 5, 10, 20, 50)
LINEAR = {"_target_": "neural_branching.networks.mlp.MLP", "widths": [], "dropout": 0.0}


@dataclass(frozen=True)
class Model:
    """Something that answers the branch's question, and what it costs.

    Attributes:
        logits: float32 (test images, classes).
        macs: multiply–accumulates per image, from the pixels on.
        trained: number of parameters that were trained for this subset.
        seconds: how long that training took, when it was done.
    """

    logits: Tensor
    macs: int
    trained: int
    seconds: float


def costs(settings: Settings, artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """What the branch costs to run and to keep.

    Args:
        settings: the run's settings.
        artifacts: those of the run.
    """
    parent, prefix = _parent_cost(settings), _parent_cost(settings, settings.stage)
    head = _head_cost(settings, artifacts["activations"].facts["widths"][settings.stage])
    return {
        "macs": {
            "to_branch_point": prefix.macs,
            "branch": head.macs,
            "path": prefix.macs + head.macs,
            "parent": parent.macs,
        },
        "parameters": {
            "to_branch_point": prefix.parameters,
            "branch": head.parameters,
            "parent": parent.parameters,
        },
        "cache_bytes": sum(
            file["bytes"] for one in _kept(artifacts) for file in one.manifest["files"].values()
        ),
    }


def saved_seconds(settings: Settings, table: DataTable, artifacts: Mapping[str, Artifact]) -> float:
    """Seconds that the cache has saved this branch's training.

    The parent would have computed the training images' activations anew in every epoch, at the pace
    at which the cache was built; what building it took is taken off.

    Args:
        settings: the run's settings.
        table: the images.
        artifacts: those of the run.
    """
    seconds = sum(float(one.manifest["seconds"]) for one in _kept(artifacts))
    per_image = seconds / sum(int(one.facts["images"]) for one in _kept(artifacts))
    images = len(table.rows("train", settings.classes, per_class=settings.images_per_class))
    learned = images * (1 + settings.views.count)
    epochs = int(artifacts["branch"].facts["epochs"])
    return round(epochs * learned * per_image - seconds, 3)


def _kept(artifacts: Mapping[str, Artifact]) -> list[Artifact]:
    return [artifacts[name] for name in ("activations", "views") if name in artifacts]


def baselines(
    settings: Settings, store: Store, table: DataTable, artifacts: Mapping[str, Artifact], branch: Answers
) -> dict[str, Any]:
    """The baselines that were asked for, each beside the branch on the same test images.

    Args:
        settings: the run's settings.
        store: where artifacts are kept.
        table: the images.
        artifacts: those of the run.
        branch: the branch's answers to the subset's test images.

    Returns:
        "branch" and the name of each baseline → accuracy, AURC by the largest softmax probability,
        cost, and the branch's lead with its interval; None where a baseline does not apply. Empty if
        none was asked for.
    """
    if not settings.baselines:
        return {}
    bench = _Bench(settings, store, table, artifacts)
    mine = outcome(branch.logits, branch.targets)
    result: dict[str, Any] = {"branch": _record(mine, bench.branch(settings))}
    for name in settings.baselines:
        model = bench.models[name]()
        if model is None:
            result[name] = None
            continue
        theirs = outcome(model.logits.numpy(), branch.targets)
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
    """Builds each baseline from one run's settings."""

    def __init__(
        self, settings: Settings, store: Store, table: DataTable, artifacts: Mapping[str, Artifact]
    ) -> None:
        self.settings, self.store, self.table, self.parent = settings, store, table, artifacts["parent"]
        self.rows = table.rows("test", settings.classes)
        self.models: dict[str, Callable[[], Model | None]] = {
            "restricted": self.restricted,
            "linear_probe": lambda: self.branch(_with_head(settings, LINEAR)),
            "knn": self.neighbours,
            "random_parent": lambda: self.branch(replace(_anew(settings), untrained=True)),
            "scratch": lambda: self.pixels(None),
            "fine_tuned": lambda: self.pixels(self.parent),
            "random_labels": lambda: self.branch(replace(settings, random_labels=True)),
        }
        assert tuple(self.models) == BASELINES

    def branch(self, settings: Settings) -> Model:
        """A head on activations, of the run's parent or of an untrained one."""
        parent = ensure_parent(settings, self.store, self.table)
        artifact = ensure_branch(settings, self.store, self.table, parent)
        seen = act.read(
            ensure_activations(settings, self.store, self.table, parent), settings.stage, self.rows
        )
        head = load_branch(settings, artifact)
        price = _head_cost(settings, seen.shape[1])
        with torch.inference_mode():
            logits = head(seen)
        return Model(
            logits,
            _parent_cost(settings, settings.stage).macs + price.macs,
            price.parameters,
            float(artifact.manifest["seconds"]),
        )

    def restricted(self) -> Model | None:
        """The parent's logits of the subset's classes; None if it does not know each of them."""
        columns = self.settings.labels.columns(self.settings.classes)
        if columns is None:
            return None
        kept = ensure_logits(self.settings, self.store, self.table, self.parent)
        logits = act.read(kept, "logits", self.rows)[:, columns]
        return Model(logits, _parent_cost(self.settings).macs, 0, 0.0)

    def neighbours(self) -> Model:
        """Votes of the nearest training images in standardised activations; validation chooses how many."""
        settings, table = self.settings, self.table
        kept = ensure_activations(settings, self.store, table, self.parent)
        branch = ensure_branch(settings, self.store, table, self.parent)
        rows = {
            split: table.rows(split, settings.classes, per_class=settings.images_per_class)
            for split in ("train", "validation", "test")
        }
        identity = {
            "recipe": RECIPE,
            "activations": kept.sha(f"{settings.stage}.safetensors"),
            "split": table.split_key,
            "classes": settings.classes,
            "standardize": branch.sha(WEIGHTS),
            "neighbours": NEIGHBOURS,
        }
        if settings.images_per_class:
            identity["images_per_class"] = settings.images_per_class

        def vote(folder: Path) -> Facts:
            standardize = load_branch(settings, branch).standardize
            x = {
                name: standardize(act.read(kept, settings.stage, mine)).numpy() for name, mine in rows.items()
            }
            y = {name: act.subset_targets(table, mine, settings.groups) for name, mine in rows.items()}
            fitted = [
                KNeighborsClassifier(k, weights="distance").fit(x["train"], y["train"])
                for k in NEIGHBOURS
                if k <= len(x["train"])
            ]
            best = max(fitted, key=lambda one: one.score(x["validation"], y["validation"]))
            votes = torch.from_numpy(best.predict_proba(x["test"])).float()
            save_file({"votes": votes}, folder / VOTES)
            return {"k": best.n_neighbors}

        artifact = self.store.fetch("neighbours", identity, vote, needs=(VOTES,))
        votes = load_file(artifact.path / VOTES)["votes"]
        width = kept.facts["widths"][settings.stage]
        prefix = _parent_cost(settings, settings.stage).macs
        return Model((votes + 1e-6).log(), prefix + len(rows["train"]) * width, 0, 0.0)

    def pixels(self, start: Artifact | None) -> Model:
        """The parent's architecture trained on the subset's pixels, anew or from the parent's weights."""
        settings = _on_pixels(self.settings)
        if start:
            settings = replace(settings, parent_fit=_gentler(settings.parent_fit))
        artifact = ensure_parent(settings, self.store, self.table, start)
        logits = act.read(ensure_logits(settings, self.store, self.table, artifact), "logits", self.rows)
        price = _parent_cost(settings)
        return Model(logits, price.macs, price.parameters, float(artifact.manifest["seconds"]))


def _parent_cost(settings: Settings, until: str | None = None) -> Cost:
    with torch.device("meta"):
        return cost(new_parent(settings), image_shape(settings), until)


def _head_cost(settings: Settings, width: int) -> Cost:
    with torch.device("meta"):
        return cost(new_branch(settings, width), (width,))


def _with_head(settings: Settings, network: Mapping[str, Any]) -> Settings:
    branch = {**settings.config["branch"], "network": dict(network)}
    return replace(settings, config={**settings.config, "branch": branch})


def _on_pixels(settings: Settings) -> Settings:
    """The parent's architecture and recipe, for the subset's classes on the branch's training images."""
    classes: Sequence[str] = list(settings.classes)
    labels = Labels("fine", classes, settings.known, classes, {})
    epochs = settings.baseline_epochs or settings.parent_fit.epochs
    recipe = Fit(**{**vars(settings.parent_fit), "epochs": epochs}).stretched(settings.stretch)
    seed = settings.branch_seed  # it stands in for the branch, and varies with it
    return replace(_anew(settings), labels=labels, parent_fit=recipe, parent_seed=seed, learner="branch")


def _anew(settings: Settings) -> Settings:
    """The same parent without weights that were made elsewhere."""
    parent = {**settings.config["parent"]}
    if "weights" in parent["network"]:
        parent["network"] = {**parent["network"], "weights": None}
    return replace(settings, checkpoint=None, config={**settings.config, "parent": parent})


def _gentler(fit: Fit) -> Fit:
    """As many epochs at a quarter of the learning rate: the last layer starts anew and has to catch up."""
    return Fit(**{**vars(fit), "lr": fit.lr / 4})
