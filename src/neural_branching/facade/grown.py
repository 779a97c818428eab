"""What grows from a parent, declared in Python: a branch, a tree of them, a cascade, or a judge."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from omegaconf import DictConfig

from neural_branching.config.build import conf_dir
from neural_branching.config.experiment import Experiment as ExperimentSpec
from neural_branching.config.experiment import stages_of_cascade
from neural_branching.data.subset import Subset
from neural_branching.errors import InputError
from neural_branching.facade.groups import Group, described, given
from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec
from neural_branching.labs.self_evaluation.targets import Target
from neural_branching.networks.readout import JOIN
from neural_branching.routing.exit_choice import ExitChoice
from neural_branching.routing.hierarchy import Hierarchy
from neural_branching.routing.promises import Promise
from neural_branching.routing.routers import Router
from neural_branching.selection.scores.score import Score
from neural_branching.selection.thresholds.threshold import Threshold

if TYPE_CHECKING:
    from neural_branching.facade.finished_run import Finished


class Grown:
    """What one branch and the branches of a tree have in common."""

    command: ClassVar[str]
    asked: ClassVar[str]  # the group that says what is told apart

    def __init__(
        self,
        stage: str | None,
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
            "branch_point": given(stage=stage, readout=readout),
            "branch": self.branch.changes,
            "views": given(count=views),
        }
        if score is not None:
            self.changes["score"] = _made(score, Score, "score", "nb.scores, such as nb.scores.Margin()")
        if rules:
            self.changes["threshold"] = rules[0]
        if len(rules) > 1:
            self.changes["thresholds"] = rules

    def asked_for(self, config: DictConfig) -> Any:
        """What a composed configuration asks for.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        return ExperimentSpec.from_config(config)

    def called(self, spec: Any) -> str:
        """What ends the name of a run's folder."""
        return str(spec.tree.name)

    def execute(self, spec: Any, folder: Path, *, draw_figures: bool) -> "Finished":
        """Do what is missing and write a run's folder.

        Args:
            spec: as ``asked_for`` gives it.
            folder: which exists and is empty.
            draw_figures: whether to write figures into it too.

        Raises:
            InputError: for the first thing that cannot be used, before any training.
        """
        from neural_branching.execute import execute  # takes torch, which declaring does not
        from neural_branching.facade.finished_run import FinishedRun

        return FinishedRun(folder, execute(spec, folder, draw_figures=draw_figures))

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


class Branch(Grown):
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
            _joined(at),
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


class Cascade(Grown):
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
        stages_of_cascade(stages)
        super().__init__(
            None,
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
        self.changes["stages"] = list(stages)
        if promise is not None:
            self.changes["promise"] = _made(
                promise, Promise, "promise", "nb.promises, such as nb.promises.Risk(0.1)"
            )
        if choose is not None:
            self.changes["choose"] = _made(choose, ExitChoice, "choose", "nb.ExitChoice")


class Tree(Grown):
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
            _joined(at),
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


class Judge(Grown):
    """Branches at several stages of one parent that say whether its answers are right.

    Args:
        stages: where branches grow; None for the parent's main stages.
        subset: of whose examples the parent is asked, as for ``Branch``; None for all.
        target: what right means; by default that the parent's answer is.
        threshold: how the smallest confidence is chosen that is accepted.
        repeats: number of splits; the first is that which answers new examples.
        generation: how a language model is asked: "shots", "tokens", "branch_after".
        name: as for ``Branch``.
        readout: as for ``Branch``, of every stage.
        kind: as for ``Branch``.
        network: as for ``Branch``.
        fit: as for ``Branch``.
        seed: of the branches; None for the experiment's.

    Raises:
        InputError: for stages, a target or a threshold of another type.
    """

    command = "judge"
    asked = "subset"

    def __init__(
        self,
        stages: Sequence[str] | None = None,
        *,
        subset: str | Sequence[str] | None = None,
        target: Target | None = None,
        threshold: Threshold | None = None,
        repeats: int | None = None,
        generation: Mapping[str, Any] | None = None,
        name: str | None = None,
        readout: str | None = None,
        kind: str = "linear",
        network: Mapping[str, Any] | None = None,
        fit: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            None,
            name=name,
            readout=readout,
            score=None,
            threshold=None,
            kind=kind,
            network=network,
            fit=fit,
            views=None,
            options=given(seed=seed),
        )
        if subset is not None:
            self._tell_apart(subset)
        self.changes |= given(stages=stages, repeats=repeats, generation=generation)
        if threshold is not None:
            self.changes["threshold"] = _made(
                threshold, Threshold, "threshold", "nb.thresholds, such as nb.thresholds.RandomWalk(0.1)"
            )
        if target is not None:
            self.changes["target"] = _made(
                target, Target, "target", "nb.targets, such as nb.targets.AgreesWithFinal()"
            )

    def asked_for(self, config: DictConfig) -> Any:
        """See ``Grown.asked_for``."""
        return SelfEvaluationSpec.from_config(config)

    def called(self, spec: Any) -> str:
        """See ``Grown.called``."""
        return f"{self.command}_{spec.data.name}"

    def execute(self, spec: Any, folder: Path, *, draw_figures: bool) -> "Finished":
        """See ``Grown.execute``."""
        from neural_branching.facade.finished_run import FinishedJudge
        from neural_branching.labs.self_evaluation.self_evaluation_report import execute

        return FinishedJudge(folder, execute(spec, folder, (), None, draw_figures=draw_figures))


def _joined(at: Any) -> str:
    """The stage that a branch grows from, or several."""
    several = isinstance(at, Sequence) and not isinstance(at, str)
    if several and at and all(isinstance(stage, str) for stage in at):
        return JOIN.join(at)
    if not isinstance(at, str):
        raise InputError(f"at is {at!r}: it must be the name of a stage, such as 'hidden2', or several.")
    return at


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
