"""A system's settings: a hierarchy whose nodes are branches, each with settings of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from neural_branching.config import build, only_keys, plain
from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources.base import Source
from neural_branching.data.subset import Subset
from neural_branching.errors import InputError, one_of, whole
from neural_branching.fit import Fit
from neural_branching.readout import Readout
from neural_branching.routing.hierarchy import ROOT, Hierarchy, Node, Tree
from neural_branching.routing.routers import Router
from neural_branching.selection.scores.base import Score
from neural_branching.selection.thresholds.base import Threshold
from neural_branching.settings import Settings, known_classes, placed

GROUPS = ("branch_point", "branch", "score", "threshold")


@dataclass(frozen=True)
class System:
    """A tree of branches below one parent.

    Attributes:
        tree: the tree over the data set's classes.
        router: who shows the way where it splits.
        base: settings of the root: the parent, and whatever no node changes.
        nodes: name of a branch → its settings.
        config: the whole resolved configuration.
    """

    tree: Tree
    router: Router
    base: Settings
    nodes: Mapping[str, Settings]
    config: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: DictConfig) -> "System":
        """Build and check the parts of a composed configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        return cls.from_values(plain(config), trusted=True)

    @classmethod
    def from_values(cls, config: Mapping[str, Any], *, trusted: bool) -> "System":
        """As ``from_config``, of plain values.

        Args:
            config: the whole configuration.
            trusted: whether the user has written it, or vouches for it.

        Raises:
            UntrustedError: for classes of other packages, if it is not trusted.
            InputError: for the first thing that cannot be used.
        """
        values = dict(config)
        hierarchy = build(values.pop("hierarchy"), "hierarchy", Hierarchy, trusted=trusted)
        router = build(values.pop("router"), "router", Router, trusted=trusted)
        source = build(values["data"]["source"], "data.source", Source, trusted=trusted)
        hashes = FileHashes(Path(values["outputs"]).absolute() / "store" / "hashes")
        known = known_classes(source, values["data"]["classes"], hashes)
        tree = hierarchy.resolve(known, values["data"]["superclasses"] or {})
        base = Settings.from_values({**values, "subset": _subset(tree.name, tree.classes)}, trusted=trusted)
        _refuse_foreign(ROOT, base)
        nodes: dict[str, Settings] = {}
        _refuse_logits(tree.nodes[ROOT], base)
        for node in tree.branches:
            nodes[node.name] = _settings(node, base, nodes)
            _refuse_foreign(node.name, nodes[node.name])
            _refuse_logits(node, nodes[node.name])
        return cls(tree, router, base, nodes, config)

    def gate(self, name: str) -> Settings:
        """Settings of a branch that tells the nodes below an inner node apart, and all other classes.

        It grows from the base's branch point, with the base's recipe.
        """
        node = self.tree.nodes[name]
        others = tuple(one for one in self.base.known if one not in node.classes)
        groups = (*node.groups, others) if others else node.groups
        return replace(
            self.base,
            subset=Subset(f"gate_{name}", list(self.base.known) if others else list(node.classes)),
            classes=tuple(one for group in groups for one in group),
            groups=groups,
        )


def _settings(node: Node, base: Settings, above: Mapping[str, Settings]) -> Settings:
    """The base with what a node changes, for its labels."""
    where = f"hierarchy.nodes.{node.name}"
    changed = {
        group: _changed(base.config[group], node.settings.get(group), f"{where}.{group}") for group in GROUPS
    }
    point = changed["branch_point"]
    of = one_of(point.pop("of", "root"), ("root", "branch"), f"{where}.branch_point.of")
    if of == "branch" and node.within == ROOT:
        raise InputError(f"{where}.branch_point.of is 'branch', and there is no branch above this node.")
    only_keys(point, {"stage", "readout"}, f"{where}.branch_point")
    only_keys(changed["branch"], {"name", "network", "fit", "seed", "images_per_class"}, f"{where}.branch")
    if "images_per_class" in (node.settings.get("branch") or {}):
        raise InputError(f"{where}.branch.images_per_class cannot differ between nodes: give it to all.")
    trusted = base.trusted
    score = build(changed["score"], f"{where}.score", Score, trusted=trusted)
    threshold = build(changed["threshold"], f"{where}.threshold", Threshold, trusted=trusted)
    fit = build(changed["branch"]["fit"], f"{where}.branch.fit", Fit, trusted=trusted)
    readout = placed(f"{where}.branch_point", lambda: Readout(point["readout"]))
    placed(f"{where}.threshold", lambda: threshold.check(score, foreign=True))
    config = {**base.config, **changed, "subset": _subset(node.name, node.classes)}
    return replace(
        base,
        config=config,
        subset=Subset(node.name, list(node.classes)),
        classes=node.classes,
        groups=node.groups,
        stage=str(point["stage"]),
        readout=readout,
        branch_fit=fit.stretched(base.stretch),
        branch_seed=whole(changed["branch"]["seed"], f"{where}.branch.seed", 0),
        score=score,
        threshold=threshold,
        trunk=above[str(node.within)] if of == "branch" else None,
    )


def _changed(usual: Mapping[str, Any], own: Any, where: str) -> dict[str, Any]:
    """A configuration group with a node's changes; one that names a ``_target_`` of its own replaces it."""
    if own is not None and not isinstance(own, Mapping):
        raise InputError(f"{where} is {own!r}: give its options, or choose a group in the defaults list.")
    if own is None or "_target_" in own or ("network" in own and "name" in own):
        return dict(own or usual)
    return _merged(usual, own)


def _merged(usual: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with changes at any depth."""
    both = {**usual, **own}
    return {
        name: _merged(usual[name], value)
        if isinstance(value, Mapping) and isinstance(usual.get(name), Mapping)
        else value
        for name, value in both.items()
    }


def _subset(name: str, classes: tuple[str, ...]) -> dict[str, Any]:
    target = "neural_branching.data.subset.Subset"
    return {"_target_": target, "name": name, "classes": list(classes), "superclass": None}


def _refuse_foreign(name: str, settings: Settings) -> None:
    if settings.threshold.needs_foreign:
        raise InputError(
            f"threshold={settings.threshold.kind} of node {name!r} limits answers to foreign images, which "
            "says nothing of errors below a router: choose another threshold."
        )


def _refuse_logits(node: Node, settings: Settings) -> None:
    """What an inner node answers are a router's weights, which have no scale as logits have."""
    if not node.leaf and settings.score.kind in ("energy", "max_logit"):
        raise InputError(
            f"score={settings.score.kind} of node {node.name!r} needs logits, an inner node has only "
            "weights: choose another score, and this one for leaves alone (hierarchy.nodes.NAME.score)."
        )
