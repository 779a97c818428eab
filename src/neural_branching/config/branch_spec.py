"""A branch: where it grows, what it tells apart, and how it is trained. It has no threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neural_branching.config.build import build, check_class, check_keys, placed
from neural_branching.config.identified import Identified
from neural_branching.config.own_classes import with_code
from neural_branching.data.views import Views
from neural_branching.errors import InputError, whole
from neural_branching.networks.readout import JOIN, Readout, stages_of
from neural_branching.training.recipe import Recipe

KEYS, POINT_KEYS = {"name", "network", "fit", "seed", "examples_per_class"}, {"stage", "readout"}


@dataclass(frozen=True, eq=False)
class BranchSpec(Identified):
    """A branch. Its network stays plain values: building it takes torch.

    Attributes:
        name: of the subset or the node that it is for.
        groups: the classes behind each of its labels, in label order.
        stage: the branch point, a stage of the parent or of the trunk, or several as "block2+pool".
        readout: how a stage's output becomes a vector.
        kind: how its network is called.
        network: class and options.
        recipe: how it is trained.
        seed: of weights and batches.
        views: augmented views of its training examples.
        examples_per_class: how many training examples of each class it learns from; None for all.
        stretch: how many times more epochs make as many steps of them as of all.
        trunk: the branch that it grows from; None if it grows from the parent.
        trusted: whether it may be made of classes of other packages.
        where: what stands before its options in messages: empty, or the node's place.
        random_labels: trained on labels that say nothing about the examples (a baseline).
    """

    name: str
    groups: tuple[tuple[str, ...], ...]
    stage: str
    readout: Readout
    kind: str
    network: Mapping[str, Any]
    recipe: Recipe
    seed: int
    views: Views
    examples_per_class: int | None
    stretch: float
    trunk: "BranchSpec | None"
    trusted: bool
    where: str = ""
    random_labels: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        groups: tuple[tuple[str, ...], ...],
        point: Mapping[str, Any],
        branch: Mapping[str, Any],
        views: Views,
        examples_per_class: int | None,
        stretch: float,
        *,
        trunk: "BranchSpec | None" = None,
        where: str = "",
        trusted: bool,
    ) -> "BranchSpec":
        """Build and check the groups "branch_point" and "branch" of a configuration.

        Args:
            name: of the subset or node.
            groups: the classes behind each label.
            point: plain values.
            branch: plain values.
            views: of its training examples.
            examples_per_class: how many of these; None for all.
            stretch: how many times more epochs make as many steps of them as of all.
            trunk: the branch that it grows from.
            where: what stands before both groups in messages.
            trusted: as for ``build``.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        check_keys(branch, KEYS, f"{where}branch")
        check_keys(point, POINT_KEYS, f"{where}branch_point")
        recipe = build(branch["fit"], f"{where}branch.fit", Recipe, trusted=trusted)
        if recipe.keep == "every":
            raise InputError(
                f"{where}branch.fit.keep is 'every': a branch keeps the weights of one epoch, best or last."
            )
        return cls(
            name=name,
            groups=groups,
            stage=_point(point["stage"], f"{where}branch_point.stage"),
            readout=placed(f"{where}branch_point", lambda: Readout(point["readout"])),
            kind=branch["name"],
            network=check_class(branch["network"], f"{where}branch.network"),
            recipe=recipe.stretched(stretch),
            seed=whole(branch["seed"], f"{where}branch.seed", 0),
            views=views,
            examples_per_class=examples_per_class,
            stretch=stretch,
            trunk=trunk,
            trusted=trusted,
            where=where,
        )

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages whose vectors it sees one after another."""
        return stages_of(self.stage)

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class behind its labels."""
        return tuple(name for group in self.groups for name in group)

    @property
    def viewed(self) -> dict[str, Any]:
        """What decides the views that it learns from."""
        views = self.views
        augment = views.augment and with_code(views.augment, trusted=self.trusted)
        return {"count": views.count, "seed": views.seed, "augment": augment}

    @property
    def rows(self) -> Any:
        """What decides the rows that it learns from; the labels too, where they are shuffled."""
        return {
            "stage": self.stage,
            "readout": self.readout.kind,
            "groups": self.groups,
            "examples_per_class": self.examples_per_class,
            "views": self.viewed,
            "trunk": self.trunk.described if self.trunk else None,
            "seed": self.seed if self.random_labels else None,
        }

    @property
    def described(self) -> Any:
        """Everything that decides its weights, but the examples and the parent."""
        return {**self.rows, **self.identity(), "trusted": self.trusted}

    def identity(self) -> dict[str, Any]:
        """Its part of the key of its weights, beside that of the activations."""
        alone = all(len(group) == 1 for group in self.groups)
        identity: dict[str, Any] = {
            "classes": self.classes if alone else self.groups,
            "network": with_code(self.network, trusted=self.trusted),
            "fit": vars(self.recipe),
            "seed": self.seed,
        }
        if self.random_labels:
            identity["random_labels"] = True
        if self.examples_per_class:
            identity["examples_per_class"] = self.examples_per_class
        return identity


def _point(stage: object, place: str) -> str:
    """The name of a branch point, of several stages one after another.

    Raises:
        InputError: for no stage, or one twice.
    """
    listed = isinstance(stage, Sequence) and not isinstance(stage, str)
    names = [str(one) for one in stage] if listed else list(stages_of(str(stage)))  # type: ignore[attr-defined]
    if stage is None or not names or "" in names or len(set(names)) < len(names):
        raise InputError(
            f"{place} is {stage!r}: it must be a stage, or several different ones, as in block2+pool."
        )
    return JOIN.join(names)


def examples_per_class(limit: object, offered: Mapping[str, int]) -> int | None:
    """How many training examples of each class a branch may learn from; None for all.

    Args:
        limit: as in the configuration.
        offered: class → number of training examples.

    Raises:
        InputError: for more than there are.
    """
    if limit is None:
        return None
    examples = whole(limit, "branch.examples_per_class", 1)
    fewest = min(offered, key=lambda name: offered[name])
    if examples > offered[fewest]:
        raise InputError(
            f"branch.examples_per_class is {examples}: a branch can learn from at most {offered[fewest]} "
            f"examples "
            f"of class {fewest!r}."
        )
    return examples
