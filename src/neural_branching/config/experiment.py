"""An experiment: data, one frozen parent, and a tree of nodes. A single branch is the tree with one leaf."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from neural_branching.config.branch_spec import KEYS, POINT_KEYS, BranchSpec, examples_per_class
from neural_branching.config.build import build, check_keys, placed, plain
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.kept_activations import USUAL, KeptActivations
from neural_branching.config.objectives import checked
from neural_branching.config.own_classes import find_own_modules
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.hashes import FileHashes
from neural_branching.data.subset import Subset
from neural_branching.data.views import Views
from neural_branching.errors import InputError, one_of, whole
from neural_branching.routing.exit_choice import ExitChoice
from neural_branching.routing.hierarchy import ROOT, Hierarchy, Node, Tree
from neural_branching.routing.promises import Promise
from neural_branching.routing.routers import Router
from neural_branching.selection.scores.learned import Temperature
from neural_branching.selection.scores.score import Score
from neural_branching.selection.thresholds.threshold import Threshold
from neural_branching.store.run_folders import TRAINING
from neural_branching.training.compute import Compute
from neural_branching.training.loggers import Logger

_TOP = {"data", "subset", "parent", "branch_point", "views", "branch", "trainer", "activations"}
_TOP |= {"seed", "outputs", "published", "baselines", "baseline_epochs", "objectives", "logger"}
_ACCEPTANCE = {"score", "threshold", "thresholds"}
# What only a tree of branches has, and what only a cascade, by which they are known.
_OF_TREE, _OF_CASCADE = {"hierarchy", "router"}, {"stages", "promise"}
OF_TEXTS = "tf_idf"
BASELINES = (
    *("restricted", "linear_probe", "knn", "random_parent", "scratch", "fine_tuned", "random_labels"),
    OF_TEXTS,
)


@dataclass(frozen=True)
class NodeSpec:
    """A node of the tree.

    Attributes:
        branch: what answers there; None where the parent itself does, at the root of several branches.
        score: confidence in its answers.
        thresholds: how the smallest confidence is chosen that is accepted; each is evaluated by itself.
    """

    branch: BranchSpec | None
    score: Score
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class BranchNodeSpec(NodeSpec):
    """A node at which a branch answers."""

    branch: BranchSpec


@dataclass(frozen=True)
class Experiment:
    """Everything that a run was asked to do.

    Attributes:
        data: the examples.
        parent: the network that branches grow from.
        tree: what the nodes tell apart.
        nodes: name → node, in the order of the tree.
        router: what chooses a node below; None where nothing is to be chosen.
        promise: what the exits of a cascade keep with one dial; None if every node has a threshold.
        choice: how these exits are chosen among the nodes; None if it has all of them.
        usual: the node that all others are like unless they say otherwise.
        compute: where it runs.
        outputs: folder of the store, the runs and the sweeps.
        objectives: what a search optimises, names of ``objectives.DIRECTIONS``.
        baselines: names among ``BASELINES`` of what to compare a branch with.
        baseline_epochs: epochs of baselines that learn as the parent does; None for as many as it has.
        published: subset → figures to compare with.
        config: the whole resolved configuration, to be written beside the results.
    """

    data: DataSpec
    parent: ParentSpec
    tree: Tree
    nodes: Mapping[str, NodeSpec]
    router: Router | None
    promise: Promise | None
    choice: ExitChoice | None
    usual: BranchNodeSpec
    compute: Compute
    outputs: Path
    objectives: tuple[str, ...]
    baselines: tuple[str, ...]
    baseline_epochs: int | None
    published: Mapping[str, Any]
    config: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: DictConfig) -> "Experiment":
        """Build and check the parts of a composed configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        several = config.get("thresholds")
        if OmegaConf.is_list(several) and several and OmegaConf.is_dict(several[0]):
            # What each of them gives need not be given by the threshold that they are laid on.
            for name in [name for name in several[0] if OmegaConf.is_missing(config.threshold, name)]:
                config = copy.deepcopy(config)
                config.threshold[name] = several[0][name]
        values = plain(config)
        find_own_modules(values)
        return cls.from_values(values, trusted=True)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, trusted: bool) -> "Experiment":
        """As ``from_config``, of plain values.

        Args:
            values: the whole configuration, of ``train``, ``route`` or ``cascade``.
            trusted: whether the user has written it, or vouches for it.

        Raises:
            UntrustedError: for classes of other packages, if it is not trusted.
            InputError: for the first thing that cannot be used.
        """
        several, cascade = values.keys() >= _OF_TREE, values.keys() >= _OF_CASCADE
        keys = _TOP | (_OF_TREE if several else set())
        keys |= _OF_CASCADE | {"choose"} if cascade else _ACCEPTANCE
        optional = {"objectives", "logger", "activations", *({"subset"} if several else set())}
        optional |= {"choose"} if cascade else set()
        check_keys(values, keys, "The configuration", optional)
        score: Score = Temperature("validation")  # what makes the exits of a cascade comparable
        thresholds: tuple[Threshold, ...] = ()
        if not cascade:
            score = build(values["score"], "score", Score, trusted=trusted)
            thresholds = tuple(
                build(one, "threshold", Threshold, trusted=trusted) for one in thresholds_of(values)
            )
        promise = build(values["promise"], "promise", Promise, trusted=trusted) if cascade else None
        choose = values.get("choose")
        choice = build(choose, "choose", ExitChoice, trusted=trusted) if choose else None
        asked = _tree(values, several=several, trusted=trusted)
        router = build(values["router"], "router", Router, trusted=trusted) if several else None
        outputs = Path(str(values["outputs"])).absolute()
        data = DataSpec.of(values["data"], FileHashes(outputs / "store" / "hashes"), trusted=trusted)
        check_keys(values["branch"], KEYS, "branch")
        check_keys(values["branch_point"], POINT_KEYS, "branch_point")
        values = {**values, "branch_point": _point(values["branch_point"], data)}
        tree = _resolved(asked, data)
        if cascade:
            tree = _chain(tree, stages_of_cascade(values["stages"]), data)
            if choice:
                placed("choose", lambda: choice.check(len(tree.nodes)))
        classes = tuple(name for name in data.classes if name in set(tree.classes))
        for threshold in thresholds:
            _check(threshold, score, "threshold", foreign=len(classes) < len(data.classes))
        # Runs of before have no such node.
        kept = KeptActivations.of(values["activations"]) if "activations" in values else USUAL
        parent = ParentSpec.of(values["parent"], data, classes, kept, trusted=trusted)
        if router:
            _check_root(tree, parent, router, score)
        offered = {name: data.offered[name] for name in classes}
        limit = examples_per_class(values["branch"]["examples_per_class"], offered)
        branch = BranchSpec.of(
            tree.name,
            tree.nodes[tree.root].groups,
            values["branch_point"],
            values["branch"],
            build(values["views"], "views", Views, trusted=trusted),
            limit,
            sum(offered.values()) / (limit * len(offered)) if limit else 1.0,
            trusted=trusted,
        )
        usual = BranchNodeSpec(branch, score, thresholds)
        epochs = values["baseline_epochs"]
        return cls(
            data=data,
            parent=parent,
            tree=tree,
            nodes=_nodes(tree, usual, values) if several or cascade else {tree.root: usual},
            router=router,
            promise=promise,
            choice=choice,
            usual=usual,
            compute=compute_of(values, outputs, trusted=trusted),
            outputs=outputs,
            objectives=checked(values.get("objectives")),
            baselines=() if several or cascade else _baselines(values["baselines"], data.input.name),
            baseline_epochs=None if epochs is None else whole(epochs, "baseline_epochs", 1),
            published=_published(values["published"]),
            config=values,
        )

    @property
    def command(self) -> str:
        """The command that does it."""
        return "route" if self.router else "cascade" if self.promise else "train"

    @property
    def branches(self) -> dict[str, BranchSpec]:
        """Node → branch, where there is one."""
        return {name: node.branch for name, node in self.nodes.items() if node.branch}

    @property
    def gates(self) -> dict[str, BranchSpec]:
        """Inner node → a branch that tells the nodes below it apart, and all other classes.

        It grows from the usual branch point, with the usual recipe.
        """
        gates = {}
        for name, node in self.tree.nodes.items():
            if not node.leaf:
                others = tuple(one for one in self.data.classes if one not in node.classes)
                groups = (*node.groups, others) if others else node.groups
                gates[name] = replace(self.usual.branch, name=f"gate_{name}", groups=groups)
        return gates


def compute_of(values: Mapping[str, Any], outputs: Path, *, trusted: bool) -> Compute:
    """Where a configuration runs, and what shows its trainings.

    Raises:
        InputError: for what the groups "trainer" and "logger" do not offer.
    """
    node = values.get("logger")
    logger = node and build(node, "logger", Logger, trusted=trusted, folder=outputs / TRAINING)
    return build(values["trainer"], "trainer", Compute, trusted=trusted, logger=logger)


def _tree(values: Mapping[str, Any], *, several: bool, trusted: bool) -> Hierarchy | Subset:
    if several:
        return build(values["hierarchy"], "hierarchy", Hierarchy, trusted=trusted)
    return build(values["subset"], "subset", Subset, trusted=trusted)


def _point(point: Mapping[str, Any], data: DataSpec) -> Mapping[str, Any]:
    """A branch point, "first" being the first of the stages that the data give."""
    stages = data.input.stages
    return {**point, "stage": next(iter(stages))} if stages and point["stage"] == "first" else point


def _check_root(tree: Tree, parent: ParentSpec, router: Router, score: Score) -> None:
    """Refuse what asks the parent at the root of several branches for what it cannot say.

    Raises:
        InputError: for a router or a score that needs logits which the parent does not give.
    """
    root = tree.nodes[tree.root]
    if root.name != ROOT:  # a branch decides
        return
    if router.asks_node and parent.labels.columns_of(root.groups) is None:
        raise InputError(
            f"router={router.kind} asks the parent which node an example belongs to, and the parent's labels "
            f"do not tell the nodes below {root.name} apart: choose another router, such as gate."
        )
    if score.asks_activations and not parent.labels.names:
        raise InputError(
            f"score={score.kind} of node {root.name!r} needs the parent's logits, and it gives none: choose "
            "another score, and this one for leaves alone (hierarchy.nodes.NAME.score)."
        )


def _resolved(asked: Hierarchy | Subset, data: DataSpec) -> Tree:
    if isinstance(asked, Hierarchy):
        return asked.resolve(data.classes, data.superclasses)
    classes = asked.resolve(data.classes, data.superclasses)
    groups = tuple((name,) for name in classes)
    return Tree(asked.name, {asked.name: Node(asked.name, None, classes, groups, leaf=True)})


def stages_of_cascade(asked: object) -> tuple[str, ...]:
    """The stages of the exits of a cascade, from the first on.

    Raises:
        InputError: for fewer than two different ones.
    """
    listed = isinstance(asked, Sequence) and not isinstance(asked, str)
    names = [one for one in asked if isinstance(one, str)] if listed else []  # type: ignore[attr-defined]
    if len(names) < 2 or len({*names}) < len(asked):  # type: ignore[arg-type]
        raise InputError(
            f"stages is {asked!r}: a cascade has exits at two or more different stages of the parent, as in "
            "[block1,block2,pool]."
        )
    return tuple(names)


def _chain(tree: Tree, stages: Sequence[str], data: DataSpec) -> Tree:
    """A cascade that tells the classes of a single branch apart, with an exit at every stage.

    Raises:
        InputError: for a stage that is called like a class, so that nobody could tell which is meant.
    """
    leaf, exits = tree.nodes[tree.root], []
    for stage in stages:
        if stage in data.classes:
            raise InputError(f"stages has {stage!r}, which is a class too: rename the class.")
        exits.append(replace(leaf, name=stage, settings={"branch_point": {"stage": stage}}))
    return Tree.cascade(tree.name, exits)


def _nodes(tree: Tree, usual: BranchNodeSpec, values: Mapping[str, Any]) -> dict[str, NodeSpec]:
    """Every node of a hierarchy or a cascade, a node after the one above it."""
    nodes: dict[str, NodeSpec] = {}
    for node in tree.nodes.values():
        at_parent = node.name == ROOT
        nodes[node.name] = (
            NodeSpec(None, usual.score, usual.thresholds) if at_parent else _node(node, usual, values, nodes)
        )
        _refuse(node, nodes[node.name])
    return nodes


def _node(
    node: Node, usual: BranchNodeSpec, values: Mapping[str, Any], above: Mapping[str, NodeSpec]
) -> BranchNodeSpec:
    """The usual node with what this one changes, for its labels."""
    where = f"hierarchy.nodes.{node.name}." if "hierarchy" in values else ""

    def changed(group: str, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return _changed(like or values[group], node.settings.get(group), f"{where}{group}")

    point = changed("branch_point")
    of = one_of(point.pop("of", "root"), ("root", "branch"), f"{where}branch_point.of")
    trunk = above[str(node.within)].branch if of == "branch" and node.within else None
    if of == "branch" and trunk is None:
        raise InputError(f"{where}branch_point.of is 'branch', and there is no branch above this node.")
    if "examples_per_class" in (node.settings.get("branch") or {}):
        raise InputError(f"{where}branch.examples_per_class cannot differ between nodes: give it to all.")
    trusted = usual.branch.trusted
    branch = BranchSpec.of(
        node.name,
        node.groups,
        point,
        changed("branch"),
        usual.branch.views,
        usual.branch.examples_per_class,
        usual.branch.stretch,
        trunk=trunk,
        where=where,
        trusted=trusted,
    )
    if not usual.thresholds:
        return BranchNodeSpec(branch, usual.score, ())
    score = build(changed("score"), f"{where}score", Score, trusted=trusted)
    thresholds = tuple(
        build(changed("threshold", one), f"{where}threshold", Threshold, trusted=trusted)
        for one in thresholds_of(values)
    )
    for threshold in thresholds:
        _check(threshold, score, f"{where}threshold", foreign=True)
    return BranchNodeSpec(branch, score, thresholds)


def thresholds_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The configuration of each different threshold that is to be evaluated.

    Args:
        values: the whole configuration, plain values; ``thresholds`` are laid on ``threshold``.

    Raises:
        InputError: if ``thresholds`` is no list of options.
    """
    asked, usual = values.get("thresholds"), values["threshold"]
    if asked is None:
        return [usual]
    if not isinstance(asked, Sequence) or isinstance(asked, str) or not asked:
        raise InputError(
            f"thresholds is {asked!r}: it must be null or a list of options, as in "
            "[{value:0.5},{value:0.7}]."
        )
    found: list[dict[str, Any]] = []
    for index, one in enumerate(asked):
        if not isinstance(one, Mapping):
            raise InputError(
                f"thresholds[{index}] is {one!r}: it must be options of the threshold, as in {{value:0.5}}."
            )
        node = _changed(usual, one, f"thresholds[{index}]")
        if node not in found:
            found.append(node)
    return found


def _check(threshold: Threshold, score: Score, place: str, *, foreign: bool) -> None:
    placed(place, lambda: threshold.check(score, foreign=foreign))


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


def _refuse(node: Node, spec: NodeSpec) -> None:
    """Refuse what means nothing in a tree of several nodes.

    Raises:
        InputError: for a threshold on foreign examples, and at an inner node, whose answers are a router's
            weights without a scale, for a score of logits.
    """
    for threshold in spec.thresholds:
        if threshold.needs_foreign:
            raise InputError(
                f"threshold={threshold.kind} of node {node.name!r} limits answers to foreign examples, which "
                "says nothing of errors below a router: choose another threshold."
            )
    if not node.leaf and spec.score.kind in ("energy", "max_logit"):
        raise InputError(
            f"score={spec.score.kind} of node {node.name!r} needs logits, an inner node has only "
            "weights: choose another score, and this one for leaves alone (hierarchy.nodes.NAME.score)."
        )


def _published(given: object) -> Mapping[str, Any]:
    """Figures of others to compare with."""
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"published is {given!r}: it must be null or {{SUBSET: {{accuracy: 0.9}}}}.")
    return given or {}


def _baselines(chosen: object, examples: str) -> tuple[str, ...]:
    """What to compare with; "all" are those that examples of this kind have."""
    if chosen is None or chosen == "all":
        apply = [name for name in BASELINES if name != OF_TEXTS or examples == "texts"]
        return tuple(apply) if chosen else ()
    if not isinstance(chosen, Sequence) or isinstance(chosen, str):
        raise InputError(
            f"baselines is {chosen!r}: it must be all, null or a list among {', '.join(BASELINES)}."
        )
    return tuple(dict.fromkeys(one_of(name, BASELINES, "a name in baselines") for name in chosen))
