"""An experiment declared in Python: data, one frozen parent, and a branch or a tree of branches."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from neural_branching.config.build import conf_dir
from neural_branching.config.experiment import Experiment as ExperimentSpec
from neural_branching.errors import InputError
from neural_branching.facade.groups import Group, described, given
from neural_branching.facade.parents import Parent
from neural_branching.facade.sources import Data
from neural_branching.routing.hierarchy import Hierarchy
from neural_branching.routing.routers import Router
from neural_branching.selection.scores.score import Score
from neural_branching.selection.thresholds.threshold import Threshold
from neural_branching.store.run_folders import begin, discard

if TYPE_CHECKING:
    from neural_branching.facade.finished_run import FinishedRun

SUBSET = "neural_branching.data.subset.Subset"


class _Grown:
    """What one branch and the branches of a tree have in common."""

    def __init__(
        self,
        at: str,
        *,
        readout: str | None,
        score: Score | None,
        threshold: Threshold | Sequence[Threshold] | None,
        kind: str,
        network: Mapping[str, Any] | None,
        fit: Mapping[str, Any] | None,
        views: int | None,
        options: Mapping[str, Any],
    ) -> None:
        rules = [threshold] if isinstance(threshold, Threshold) else list(threshold or [])
        self.branch = Group(kind, given(network=network, fit=fit, **options))
        self.changes: dict[str, Any] = {
            "branch_point": given(stage=at, readout=readout),
            "branch": self.branch.changes,
            **given(views=given(count=views) or None, score=described(score) if score else None),
        }
        if rules:
            self.changes["threshold"] = described(rules[0])
        if len(rules) > 1:
            self.changes["thresholds"] = [described(rule) for rule in rules]


class Branch(_Grown):
    """A branch: what it tells apart, where it grows, and when it answers.

    Args:
        subset: a name in ``conf/subset``, a superclass of the data, or class names.
        at: the branch point, a stage of the parent.
        name: how a list of classes is called in tables and folders.
        readout: how the stage's output becomes a vector.
        score: confidence in an answer; by default the largest softmax probability.
        threshold: how the smallest accepted confidence is chosen; several are evaluated apart.
        kind: a name in ``conf/branch``.
        network: options of its network, such as ``widths``.
        fit: options of its recipe.
        views: augmented views of every training example.
        options: further keys of the group, such as ``examples_per_class`` and ``seed``.
    """

    def __init__(
        self,
        subset: str | Sequence[str],
        at: str,
        *,
        name: str = "custom",
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
            readout=readout,
            score=score,
            threshold=threshold,
            kind=kind,
            network=network,
            fit=fit,
            views=views,
            options=options,
        )
        self.command, self.overrides = "train", []
        if not isinstance(subset, str):
            chosen = {"name": name, "classes": list(subset), "superclass": None}
            self.changes["subset"] = {"_target_": SUBSET, **chosen}
        elif (conf_dir() / "subset" / f"{subset}.yaml").is_file():
            self.overrides.append(f"subset={subset}")
        else:
            chosen = {"name": subset, "classes": None, "superclass": subset}
            self.changes["subset"] = {"_target_": SUBSET, **chosen}


class Tree(_Grown):
    """A tree of branches under one router.

    Args:
        hierarchy: a name in ``conf/hierarchy``, or node → options as in its files.
        at: the branch point of every node that does not name its own.
        router: what chooses a child node; by default the parent's own probability mass.
        name: how a hierarchy of one's own is called in tables and folders.
        readout: as for ``Branch``.
        score: as for ``Branch``.
        threshold: as for ``Branch``.
        kind: as for ``Branch``.
        network: as for ``Branch``.
        fit: as for ``Branch``.
        views: as for ``Branch``.
        options: as for ``Branch``.
    """

    def __init__(
        self,
        hierarchy: str | Mapping[str, Mapping[str, Any]],
        at: str,
        *,
        router: Router | None = None,
        name: str = "custom",
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
            readout=readout,
            score=score,
            threshold=threshold,
            kind=kind,
            network=network,
            fit=fit,
            views=views,
            options=options,
        )
        self.command, self.overrides = "route", []
        if isinstance(hierarchy, str):
            self.overrides.append(f"hierarchy={hierarchy}")
        else:
            target = f"{Hierarchy.__module__}.{Hierarchy.__qualname__}"
            nodes = {node: dict(some) for node, some in hierarchy.items()}
            self.changes["hierarchy"] = {"_target_": target, "name": name, "nodes": nodes}
        if router:
            self.changes["router"] = described(router)


class Experiment:
    """Data, one frozen parent, and what grows from it.

    Args:
        data: where the examples come from.
        parent: what the branches grow from.
        branches: a branch or a tree of branches.
        seed: of parent and branches.
        baselines: what to compare a branch with, names of ``config.experiment.BASELINES``.
        trainer: where it runs: options of ``conf/trainer``, such as ``accelerator`` and ``threads``.
    """

    def __init__(
        self,
        data: Data,
        parent: Parent,
        branches: Branch | Tree,
        *,
        seed: int = 0,
        baselines: Sequence[str] | None = None,
        trainer: Mapping[str, Any] | None = None,
    ) -> None:
        self.data, self.parent, self.branches = data, parent, branches
        self.seed, self.baselines, self.trainer = seed, baselines, trainer

    def spec(self, outputs: str | Path = "outputs") -> ExperimentSpec:
        """The experiment as the command line would have composed it, checked.

        Args:
            outputs: folder of the store and the runs.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        grown = self.branches
        overrides = [f"data={self.data.option}", f"parent={self.parent.option}"]
        overrides += [f"branch={grown.branch.option}", *grown.overrides]
        changes = {
            "seed": self.seed,
            "outputs": str(outputs),
            "data": self.data.changes,
            "parent": self.parent.changes,
            **grown.changes,
            **given(baselines=None if self.baselines is None else list(self.baselines), trainer=self.trainer),
        }
        try:
            with initialize_config_dir(str(conf_dir()), version_base="1.3"):
                config = compose(grown.command, overrides)
        except HydraException as error:
            raise InputError(str(error)) from error
        OmegaConf.set_struct(config, False)
        for place, value in _places(changes):
            OmegaConf.update(config, place, value, merge=False)
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
