"""What every study writes into its run, and what its results say of where they come from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from matplotlib.figure import Figure

from neural_branching.config.data_spec import DataSpec
from neural_branching.report.figures.style import save
from neural_branching.report.results import write_config, write_results, written
from neural_branching.report.tensorboard import Vectors, write_figures, write_histories, write_vectors
from neural_branching.store.artifact_store import Artifact, Store
from neural_branching.store.environment import environment
from neural_branching.store.run_folders import CONFIG, events_of, planned_data
from neural_branching.training.compute import Compute
from neural_branching.training.history import History
from neural_branching.training.loggers import TensorBoard

_NONE: Mapping[str, Vectors] = MappingProxyType({})


class StudyAsked(Protocol):
    """What every study was asked for, among other things."""

    @property
    def data(self) -> DataSpec:
        """The examples."""

    @property
    def compute(self) -> Compute:
        """Where it runs."""

    @property
    def outputs(self) -> Path:
        """Folder of the store, the runs and the sweeps."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The whole resolved configuration."""


def begin_study(spec: StudyAsked, folder: Path, sweep: Path | None) -> str | None:
    """Write the configuration of a run.

    Args:
        spec: what to do.
        folder: of the run, which exists and is empty.
        sweep: folder of the sweep that the run belongs to; None for none.

    Returns:
        Fingerprint of the data that the sweep has planned with; None for any.
    """
    write_config(folder, spec.config)
    return planned_data(sweep, spec.data.described) if sweep else None


def finish_study(
    spec: StudyAsked,
    folder: Path,
    results: Mapping[str, Any],
    tables: Sequence[str],
    drawn: Mapping[str, Figure],
    histories: Mapping[str, History],
    vectors: Mapping[str, Vectors] = _NONE,
) -> dict[str, Any]:
    """Write figures and events of a run, and its results last.

    Args:
        spec: what was done.
        folder: of the run, which has the tables.
        results: what was found.
        tables: names of the files of tables.
        drawn: name → figure.
        histories: of every network that was trained, its epochs.
        vectors: what TensorBoard is to project.

    Returns:
        The results with what was written.
    """
    names = [CONFIG, *tables, *save(dict(drawn), folder, ("png", "svg"))]
    logger = spec.compute.logger
    if isinstance(logger, TensorBoard):
        write_histories(folder, histories)
        write_figures(folder, drawn)
        names += [*events_of(folder), *(write_vectors(folder, vectors) if vectors else ())]
    full = {**results, "written": written(folder, names, spec.outputs)}
    write_results(folder, full)
    if logger:
        logger.forget(one.rpartition("/")[2] for one in results["used"])
    return full


def origin(
    store: Store, named: Mapping[str, Artifact], compute: Compute, overrides: Sequence[str]
) -> dict[str, Any]:
    """Where results come from: the blocks "environment", "artifacts", "used" and "overrides".

    Args:
        store: where artifacts are kept.
        named: the trained networks by their names.
        compute: where it ran.
        overrides: what the user typed.
    """
    return {
        "environment": environment(compute.device()),
        "artifacts": {
            name: {**named[name].provenance(), "built": built}
            for name, built in store.newly_built(named).items()
        },
        "used": store.take_used(),
        "overrides": list(overrides),
    }
