"""An experiment declared in Python: data, one frozen parent, and a branch, a tree of them or a cascade."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra import compose
from omegaconf import OmegaConf

from neural_branching.config.build import conf_dir
from neural_branching.config.experiment import Experiment as ExperimentSpec
from neural_branching.config.experiment import stages_of_cascade
from neural_branching.config.hydra_session import REFUSALS, explained, hydra_session
from neural_branching.data.subset import Subset
from neural_branching.errors import InputError
from neural_branching.facade.groups import Group, described, given, plain
from neural_branching.facade.parents import Parent
from neural_branching.facade.sources import Data
from neural_branching.networks.readout import JOIN
from neural_branching.routing.exit_choice import ExitChoice
from neural_branching.routing.hierarchy import Hierarchy
from neural_branching.routing.promises import Promise
from neural_branching.routing.routers import Router
from neural_branching.selection.scores.score import Score
from neural_branching.selection.thresholds.threshold import Threshold
from neural_branching.store.run_folders import begin, discard

if TYPE_CHECKING:
    from neural_branching.facade.finished_run import FinishedRun


class _Grown:
    """What one branch and the branches of a tree have in common."""

    command: ClassVar[str]
    asked: ClassVar[str]  # the group that says what is told apart

    def __init__(
        self,
        at: str | Sequence[str],
        *,
        name: str | None,
        readout: str | None,
        score: Score | None,
        threshold: Threshold | Sequence[Threshold] | None,
        kind: str,
        network: Mapping[str, Any] | None,
        fit: Mapping[str, Any] | None,
        views: int | None,
        options: Mapping[str, Any],
    ) -> None:
        if not isinstance(at, str) and not (
            isinstance(at, Sequence) and at and all(isinstance(stage, str) for stage in at)
        ):
            raise InputError(f"at is {at!r}: it must be the name of a stage, such as 'hidden2', or several.")
        rules = [
            _made(
                rule,
                Threshold,
                "threshold",
                "nb.thresholds, such as nb.thresholds.Fixed(0.5), or a list of them",
            )
            for rule in _listed(threshold)
        ]
        self.name = name
        self.overrides: list[str] = []
        self.branch = Group(kind, {**given(network=network, fit=fit), **options})
        self.changes: dict[str, Any] = {
            self.asked: given(name=name),
            "branch_point": given(stage=at if isinstance(at, str) else JOIN.join(at), readout=readout),
            "branch": self.branch.changes,
            "views": given(count=views),
        }
        if score is not None:
            self.changes["score"] = _made(score, Score, "score", "nb.scores, such as nb.scores.Margin()")
        if rules:
            self.changes["threshold"] = rules[0]
        if len(rules) > 1:
            self.changes["thresholds"] = rules

    def _tell_apart(self, subset: str | Sequence[str]) -> None:
        """Choose a subset by the name of its file, of a superclass, or by its classes."""
        target = {"_target_": f"{Subset.__module__}.{Subset.__qualname__}"}
        if not isinstance(subset, str):
            named = {"name": self.name or "custom", "classes": subset, "superclass": None}
            self.changes["subset"] = {**target, **named}
        elif (conf_dir() / "subset" / f"{subset}.yaml").is_file():
            self.overrides.append(f"subset={subset}")
        else:
            named = {"name": self.name or subset, "classes": None, "superclass": subset}
            self.changes["subset"] = {**target, **named}


class Branch(_Grown):
    """A branch: what it tells apart, where it grows, and when it answers.

    Args:
        subset: a name in ``conf/subset``, a superclass of the data, or class names.
        at: the branch point, a stage of the parent; of several it sees the vectors one after another.
        name: how the subset is called in tables and folders; of a list of classes "custom".
        readout: how the stage's output becomes a vector.
        score: confidence in an answer; by default the largest softmax probability.
        threshold: how the smallest accepted confidence is chosen; several are evaluated apart.
        kind: a name in ``conf/branch``.
        network: options of its network, such as ``widths``.
        fit: options of its recipe.
        views: augmented views of every training example.
        options: further keys of the group, such as ``examples_per_class`` and ``seed``.

    Raises:
        InputError: for a stage, score or threshold of another type.
    """

    command = "train"
    asked = "subset"

    def __init__(
        self,
        subset: str | Sequence[str],
        at: str | Sequence[str],
        *,
        name: str | None = None,
        readout: str | None = None,
        score: Score | None = None,
        threshold: Threshold | Sequence[Threshold] | None = None,
        kind: str = "mlp",
        network: Mapping[str, Any] | None = None,
        fit: Mapping[str, Any] | None = None,
        views: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            at,
            name=name,
            readout=readout,
            score=score,
            threshold=threshold,
            kind=kind,
            network=network,
            fit=fit,
            views=views,
            options=options,
        )
        self._tell_apart(subset)


class Cascade(_Grown):
    """Branches at several stages of one parent, each of which answers or defers to the next.

    Args:
        subset: as for ``Branch``.
        stages: the exits, from the first on: stages of the parent.
        promise: what the dial keeps; by default that answers differ from the last exit's in at most 2 %.
        choose: how exits are chosen among these on validation; None to keep them all.
        name: as for ``Branch``.
        readout: as for ``Branch``, of every exit.
        kind: as for ``Branch``.
        network: as for ``Branch``.
        fit: as for ``Branch``.
        views: as for ``Branch``.
        options: as for ``Branch``.

    Raises:
        InputError: for stages, a promise or a choice of another type.
    """

    command = "cascade"
    asked = "subset"

    def __init__(
        self,
        subset: str | Sequence[str],
        stages: Sequence[str],
        *,
        promise: Promise | None = None,
        choose: ExitChoice | None = None,
        name: str | None = None,
        readout: str | None = None,
        kind: str = "linear",
        network: Mapping[str, Any] | None = None,
        fit: Mapping[str, Any] | None = None,
        views: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            stages_of_cascade(stages),
            name=name,
            readout=readout,
            score=None,
            threshold=None,
            kind=kind,
            network=network,
            fit=fit,
            views=views,
            options=options,
        )
        self._tell_apart(subset)
        self.changes |= {"branch_point": given(readout=readout), "stages": list(stages)}
        if promise is not None:
            self.changes["promise"] = _made(
                promise, Promise, "promise", "nb.promises, such as nb.promises.Risk(0.1)"
            )
        if choose is not None:
            self.changes["choose"] = _made(choose, ExitChoice, "choose", "nb.ExitChoice")


class Tree(_Grown):
    """A tree of branches under one router.

    Args:
        hierarchy: a name in ``conf/hierarchy``, or node → options as in its files.
        at: the branch point of every node that does not name its own.
        router: what chooses a child node; by default the parent's own probability mass.
        name: how the hierarchy is called in tables and folders; one of one's own "custom".
        readout: as for ``Branch``.
        score: as for ``Branch``.
        threshold: as for ``Branch``.
        kind: as for ``Branch``.
        network: as for ``Branch``.
        fit: as for ``Branch``.
        views: as for ``Branch``.
        options: as for ``Branch``.

    Raises:
        InputError: for a node, stage, score, threshold or router of another type.
    """

    command = "route"
    asked = "hierarchy"

    def __init__(
        self,
        hierarchy: str | Mapping[str, Mapping[str, Any]],
        at: str | Sequence[str],
        *,
        router: Router | None = None,
        name: str | None = None,
        readout: str | None = None,
        score: Score | None = None,
        threshold: Threshold | Sequence[Threshold] | None = None,
        kind: str = "mlp",
        network: Mapping[str, Any] | None = None,
        fit: Mapping[str, Any] | None = None,
        views: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            at,
            name=name,
            readout=readout,
            score=score,
            threshold=threshold,
            kind=kind,
            network=network,
            fit=fit,
            views=views,
            options=options,
        )
        if isinstance(hierarchy, str):
            self.overrides.append(f"hierarchy={hierarchy}")
        elif not isinstance(hierarchy, Mapping):
            raise InputError(
                f"hierarchy is {hierarchy!r}: it must be a name, or a mapping of nodes to options."
            )
        else:
            target = f"{Hierarchy.__module__}.{Hierarchy.__qualname__}"
            nodes = {node: _node(node, some) for node, some in hierarchy.items()}
            self.changes["hierarchy"] = {"_target_": target, "name": name or "custom", "nodes": nodes}
        if router is not None:
            self.changes["router"] = _made(router, Router, "router", "nb.routers, such as nb.routers.Gate()")


def _listed(threshold: Any) -> list[Any]:
    if threshold is None:
        return []
    rules = list(threshold) if isinstance(threshold, (list, tuple)) else [threshold]
    if not rules:
        raise InputError("threshold is an empty list: give at least one, or leave it out.")
    return rules


def _made(thing: Any, kind: type, place: str, allowed: str) -> dict[str, Any]:
    if not isinstance(thing, kind):
        raise InputError(f"{place} is {thing!r}: it must be an object of {allowed}.")
    return described(thing)


def _node(name: str, options: Any) -> dict[str, Any]:
    """A node's options, with a score or threshold of its own as a configuration names it."""
    if not isinstance(options, Mapping):
        raise InputError(
            f"Node {name!r} of the hierarchy is {options!r}: give a mapping, as {{'classes': [...]}}."
        )
    return {
        key: described(value) if isinstance(value, (Score, Threshold)) else value
        for key, value in options.items()
    }


class Experiment:
    """Data, one frozen parent, and what grows from it.

    Args:
        data: where the examples come from, one of ``nb.sources``.
        parent: what the branches grow from, one of ``nb.parents``.
        branches: a branch, a tree of branches or a cascade.
        seed: of parent and branches.
        baselines: what to compare a branch with: "all", or names of ``config.experiment.BASELINES``.
        baseline_epochs: epochs of baselines that learn as the parent does; None for as many as it has.
        trainer: where it runs: options of ``conf/trainer``, such as ``accelerator`` and ``threads``.
        logger: where curves appear: a name in ``conf/logger``; None for nowhere.

    Raises:
        InputError: for data, a parent or branches of another type.
    """

    def __init__(
        self,
        data: Data,
        parent: Parent,
        branches: Branch | Tree | Cascade,
        *,
        seed: int = 0,
        baselines: str | Sequence[str] | None = None,
        baseline_epochs: int | None = None,
        trainer: Mapping[str, Any] | None = None,
        logger: str | None = "tensorboard",
    ) -> None:
        for place, thing, kind, allowed in (
            ("data", data, Data, "one of nb.sources, such as nb.sources.Glyphs()"),
            ("parent", parent, Parent, "one of nb.parents, such as nb.parents.MLP()"),
            ("branches", branches, _Grown, "an nb.Branch, an nb.Tree or an nb.Cascade"),
        ):
            if not isinstance(thing, kind):
                raise InputError(f"{place} is {thing!r}: it must be {allowed}.")
        self.data, self.parent, self.branches, self.logger = data, parent, branches, logger
        self.changes = {
            "seed": seed,
            **given(baselines=baselines, baseline_epochs=baseline_epochs, trainer=trainer),
        }

    def spec(self, outputs: str | Path = "outputs") -> ExperimentSpec:
        """The experiment as the command line would have composed it.

        Everything is checked but what only networks and examples know, such as the name of a stage: ``run``
        checks that, before it trains anything.

        Args:
            outputs: folder of the store and the runs.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        if not isinstance(outputs, (str, Path)) or not str(outputs):
            raise InputError(f"outputs is {outputs!r}: it must be a folder.")
        grown = self.branches
        overrides = [f"data={self.data.option}", f"parent={self.parent.option}"]
        overrides += [f"branch={grown.branch.option}", f"logger={self.logger or 'none'}", *grown.overrides]
        changes = {
            **self.changes,
            "outputs": outputs,
            "data": self.data.changes,
            "parent": self.parent.changes,
            **grown.changes,
        }
        with hydra_session():
            try:
                config = compose(grown.command, overrides)
            except REFUSALS as error:
                raise explained(error, overrides, grown.command) from error
        OmegaConf.set_struct(config, False)
        for place, value in _places(changes):
            OmegaConf.update(config, place, plain(value, place), merge=False)
        return ExperimentSpec.from_config(config)

    def run(self, outputs: str | Path = "outputs", *, draw_figures: bool = False) -> "FinishedRun":
        """Do what is missing and write a run's folder, as the command line does.

        Args:
            outputs: folder of the store, in which artifacts are found that any other run has built, and
                of the runs.
            draw_figures: whether to write figures into the run's folder too.

        Raises:
            InputError: for the first thing that cannot be used, before any training.
        """
        spec = self.spec(outputs)
        from neural_branching.execute import execute  # takes torch, which declaring does not
        from neural_branching.facade.finished_run import FinishedRun

        name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}_{spec.tree.name}"
        folder = spec.outputs / "runs" / name
        folder.mkdir(parents=True)
        begin(folder)
        try:
            run = execute(spec, folder, draw_figures=draw_figures)
        except BaseException:
            discard(folder)
            raise
        return FinishedRun(folder, run)


def _places(changes: Mapping[str, Any], within: str = "") -> list[tuple[str, Any]]:
    """Every single value to set, with its place; what names a ``_target_`` at the top is set as a whole."""
    found: list[tuple[str, Any]] = []
    for name, value in changes.items():
        place = f"{within}{name}"
        whole = "_target_" in value or place == "data.superclasses" if isinstance(value, Mapping) else True
        if whole:
            found.append((place, dict(value) if isinstance(value, Mapping) else value))
        else:
            found += _places(value, f"{place}.")
    return found
