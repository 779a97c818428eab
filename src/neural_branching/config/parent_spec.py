"""The parent of an experiment: its network, what it tells apart, and how it comes by its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from neural_branching.config.build import build, check_class, check_keys, placed
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.identified import Identified
from neural_branching.config.kept_activations import USUAL, KeptActivations
from neural_branching.config.own_classes import with_code
from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.data.labels import Labels
from neural_branching.errors import InputError, number, whole
from neural_branching.store.artifact_store import sha256_of
from neural_branching.training.recipe import Recipe

_KEYS = {"name", "network", "fit", "augment", "normalize", "seed", "labels", "classes", "checkpoint"}
_MODEL = {"model", "weights"}  # which stand there for the network to refer to
_OPTIONAL = _MODEL | {"exits"}  # a parent from elsewhere learns by no exits


@dataclass(frozen=True, eq=False)
class ParentSpec(Identified):
    """A parent. Its network and augmentation stay plain values: building them takes torch.

    Attributes:
        name: how it is called.
        network: class and options.
        input: what its examples are.
        labels: what it tells apart.
        normalize: how examples are standardised, one of the names that their input adapter has.
        augment: what changes its training examples, class and options; None for nothing.
        recipe: how it is trained; None if it is left at its initial weights.
        seed: of weights and batches.
        checkpoint: a file of weights from elsewhere; None if it is trained here.
        trusted: whether it may be made of classes of other packages.
        training_source: whose training examples it learns from, those of the "parent" or, in a baseline of
            the branch, of the "branch".
        examples_per_class: how many of these; None for all.
        kept: what one pass of it keeps.
        exits: stage → weight of a head that it learns with there and then loses; none by default.
    """

    name: str
    network: Mapping[str, Any]
    input: InputAdapter
    labels: Labels
    normalize: str
    augment: Mapping[str, Any] | None
    recipe: Recipe | None
    seed: int
    checkpoint: Path | None
    trusted: bool
    training_source: str = "parent"
    examples_per_class: int | None = None
    kept: KeptActivations = USUAL
    exits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        group: Mapping[str, Any],
        data: DataSpec,
        classes: Sequence[str],
        kept: KeptActivations = USUAL,
        *,
        trusted: bool,
    ) -> "ParentSpec":
        """Build and check the group "parent" of a configuration.

        Args:
            group: plain values.
            data: the examples.
            classes: those of the branches.
            kept: what one pass of it keeps.
            trusted: as for ``build``.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        network = check_class(
            check_keys(group, _KEYS | _OPTIONAL, "parent", _OPTIONAL)["network"], "parent.network"
        )
        check_keys(group, _KEYS | {"exits"} | (_MODEL & network.keys()), "parent", _OPTIONAL)
        # Given activations have logits, or have none, and only they know.
        kind = group["labels"] or ("fine" if "logits" in data.input.stages else "none")
        recipe = None
        if group["fit"] is not None:
            recipe = build(group["fit"], "parent.fit", Recipe, trusted=trusted)
        placed("parent", lambda: data.input.statistics(group["normalize"]))
        return cls(
            name=group["name"],
            network=network,
            input=data.input,
            labels=placed(
                "parent",
                lambda: Labels(kind, group["classes"], data.classes, classes, data.superclasses),
            ),
            normalize=group["normalize"],
            augment=group["augment"] and check_class(group["augment"], "parent.augment"),
            recipe=recipe,
            seed=whole(group["seed"], "parent.seed", 0),
            checkpoint=_file(group["checkpoint"]),
            trusted=trusted,
            kept=kept,
            exits=_exits(group.get("exits"), recipe, group["checkpoint"]),
        )

    @property
    def described(self) -> Any:
        """Everything that decides its weights and what is kept of a pass, but the examples."""
        return {
            **self.identity(),
            "input": [self.input.name, self.input.identity],
            "kept": vars(self.kept),
            "trusted": self.trusted,
        }

    def content(self) -> dict[str, Any]:
        """What of the network decides its weights: of a file of weights and of own code, what is in it."""
        network = with_code(self.network, trusted=self.trusted)
        weights, model = (self.network.get(name) for name in ("weights", "model"))
        if isinstance(weights, str) and Path(weights).is_file():
            network = {**network, "weights": _hash(Path(weights), Path(weights).stat().st_mtime_ns)}
        if isinstance(model, str) and Path(model).is_file():
            network = {**network, "model": _hash(Path(model), Path(model).stat().st_mtime_ns)}
        elif isinstance(model, str) and (Path(model) / "config.json").is_file():
            network = {**network, "model": _hashes(Path(model), weights=weights is not None)}
        return network

    def identity(self) -> dict[str, Any]:
        """Its part of the key of its weights."""
        identity: dict[str, Any] = {
            "labels": self.labels.of,
            "network": self.content(),
            "normalize": self.normalize,
        }
        if self.checkpoint is None:
            recipe = vars(self.recipe) if self.recipe else None
            augment = self.augment and with_code(self.augment, trusted=self.trusted)
            identity |= {"augment": augment, "fit": recipe, "seed": self.seed}
        else:
            identity |= {"checkpoint": sha256_of(self.checkpoint)}
        if self.examples_per_class:
            identity |= {"examples_per_class": self.examples_per_class}
        if self.exits:
            identity |= {"exits": dict(self.exits)}
        return identity

    @property
    def learns(self) -> bool:
        """Whether its weights come from the training examples of this experiment."""
        return self.checkpoint is None and self.recipe is not None

    def anew(self) -> "ParentSpec":
        """The same without weights that were made elsewhere."""
        network = {**self.network, "weights": None} if "weights" in self.network else self.network
        return replace(self, checkpoint=None, network=network)


def _exits(asked: object, recipe: Recipe | None, checkpoint: object) -> dict[str, float]:
    """The stages that a parent has heads at while it learns, and their weights; 1 where none is given.

    Raises:
        InputError: for anything but stages with positive weights, and for a parent that learns nothing here.
    """
    if asked is None:
        return {}
    listed = isinstance(asked, Sequence) and not isinstance(asked, str)
    weights = dict.fromkeys(map(str, asked), 1.0) if listed else asked  # type: ignore[call-overload]
    if not isinstance(weights, Mapping) or not weights or (listed and len(weights) < len(asked)):  # type: ignore[arg-type]
        raise InputError(
            f"parent.exits is {asked!r}: it must be null, different stages as in [block1,block2], or stages "
            "with the weights of their heads as in {block1:0.3,block2:0.6}."
        )
    if recipe is None or checkpoint is not None:
        raise InputError("parent.exits are learned by, and this parent is not trained: leave them out.")
    places = ((str(stage), weight, f"parent.exits.{stage}") for stage, weight in weights.items())
    return {stage: number(weight, place, 0, float("inf"), open_low=True) for stage, weight, place in places}


def _hashes(folder: Path, *, weights: bool) -> dict[str, str]:
    """What is in a folder with a model: its description, and its weights if they are taken."""
    names = ["config.json", "preprocessor_config.json", *(["*.safetensors", "*.bin"] if weights else [])]
    files = sorted(file for name in names for file in folder.glob(name))
    return {file.name: _hash(file, file.stat().st_mtime_ns) for file in files}


@lru_cache(maxsize=64)  # a run looks several times
def _hash(file: Path, modified: int) -> str:
    return sha256_of(file)


def _file(name: object) -> Path | None:
    if name is None:
        return None
    path = Path(str(name)).expanduser().absolute()
    if not path.is_file():
        raise InputError(f"parent.checkpoint is {str(name)!r}: there is no such file.")
    return path
