"""An experiment declared in Python: data, one frozen parent, and what grows from it."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose
from omegaconf import OmegaConf

from neural_branching.config.experiment import Experiment as ExperimentSpec
from neural_branching.config.hydra_session import REFUSALS, explained, hydra_session
from neural_branching.errors import InputError
from neural_branching.facade.groups import given, plain
from neural_branching.facade.grown import Grown
from neural_branching.facade.parents import Parent
from neural_branching.facade.sources import Data
from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec
from neural_branching.store.run_folders import begin, discard

if TYPE_CHECKING:
    from neural_branching.facade.finished_run import Finished


class Experiment:
    """Data, one frozen parent, and what grows from it.

    Args:
        data: where the examples come from, one of ``nb.sources``.
        parent: what the branches grow from, one of ``nb.parents``.
        branches: a branch, a tree of branches, a cascade, or branches that judge their parent.
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
        branches: Grown,
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
            ("branches", branches, Grown, "an nb.Branch, an nb.Tree, an nb.Cascade or an nb.Judge"),
        ):
            if not isinstance(thing, kind):
                raise InputError(f"{place} is {thing!r}: it must be {allowed}.")
        self.data, self.parent, self.branches, self.logger = data, parent, branches, logger
        self.changes = {
            "seed": seed,
            **given(baselines=baselines, baseline_epochs=baseline_epochs, trainer=trainer),
        }

    def spec(self, outputs: str | Path = "outputs") -> "ExperimentSpec | SelfEvaluationSpec":
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
        spec: ExperimentSpec | SelfEvaluationSpec = grown.asked_for(config)
        return spec

    def run(self, outputs: str | Path = "outputs", *, draw_figures: bool = False) -> "Finished":
        """Do what is missing and write a run's folder, as the command line does.

        Args:
            outputs: folder of the store, in which artifacts are found that any other run has built, and
                of the runs.
            draw_figures: whether to write figures into the run's folder too.

        Raises:
            InputError: for the first thing that cannot be used, before any training.
        """
        spec = self.spec(outputs)
        name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}_{self.branches.called(spec)}"
        folder = spec.outputs / "runs" / name
        folder.mkdir(parents=True)
        begin(folder)
        try:
            return self.branches.execute(spec, folder, draw_figures=draw_figures)
        except BaseException:
            discard(folder)
            raise


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
