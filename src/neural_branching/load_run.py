"""A finished run, found again: its predictor, from its folder and the store it rests on."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from neural_branching import pipeline
from neural_branching.artifacts.activations import fitting_batch
from neural_branching.artifacts.build_networks import outline
from neural_branching.artifacts.ensure_branch import ensure_branch, load_branch
from neural_branching.artifacts.workspace import Workspace, load_parent
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.build import UntrustedError
from neural_branching.config.experiment import Experiment
from neural_branching.errors import InputError
from neural_branching.files.reading import read_yaml
from neural_branching.labs.self_evaluation.load_judge import decided, load_judge
from neural_branching.labs.self_evaluation.run_self_evaluation import COMMAND as JUDGE
from neural_branching.labs.self_evaluation.self_evaluation_spec import SelfEvaluationSpec
from neural_branching.labs.study_table import read_study
from neural_branching.predictor import ExamplePredictor, Head, Predictor
from neural_branching.report.results import command_of, read_results, records
from neural_branching.store.artifact_store import store_at
from neural_branching.store.run_folders import CONFIG, RESULTS, outputs_of

EXAMPLES = 256  # at most
_ANSWERING = "train, route, cascade or judge"  # commands whose runs answer new examples
S = TypeVar("S")


def load(
    run: str | Path, device: str | None = None, *, trust: bool = False, threshold: str | int | None = None
) -> ExamplePredictor:
    """The finished run of a folder, ready for new examples.

    Weights come from the store, and what was fitted on held-out examples is fitted on them again: nothing is
    trained or built, and what comes out has to agree with the run's results. Of a study of ``judge`` it is
    the judge of the first split.

    Args:
        run: folder of a run of ``train``, ``route``, ``cascade`` or ``judge``.
        device: where networks run, "cpu", "cuda" or "mps"; None for what the run was told.
        trust: build also what the run's configuration names of other packages, such as a parent of your own.
            Whoever wrote the configuration of a run from elsewhere decides what that runs.
        threshold: of a run with several thresholds the one that decides, by its number from 0 on or its rule,
            such as "fixed 0.5".

    Raises:
        InputError: for a device that is not there, a threshold that is not chosen or not there, what is not
            trusted, and if the folder has no finished run, the store has lost what it rests on, or
            configuration and results disagree.
    """
    place, folder = _device(device), Path(run).absolute()
    if command_of(folder) == JUDGE:
        results = _finished(folder, read_study, decided, _ANSWERING)
        _chosen([results["threshold"]], threshold)
        with _only_finding(folder, results, {}, SelfEvaluationSpec.from_values, trust) as spec:
            judge, mine = load_judge(spec, results, place)
        _refuse_other(mine, decided(results))
        return judge
    results = _finished(folder, read_results, _decided, _ANSWERING)
    with _asked_again(folder, results, trust) as experiment:
        index = _chosen([record["threshold"]["rule"] for record in records(results)], threshold)
        return _predictor(experiment, results, place, index)


def find(run: str | Path, *, trust: bool = False) -> pipeline.Run:
    """The finished run of a folder as the pipeline gave it: its answers to every held-out example.

    Args:
        run: folder of a run of ``train``, ``route`` or ``cascade``.
        trust: as for ``load``.

    Raises:
        InputError: as ``load``.
    """
    with found_again(run, trust=trust) as (experiment, results):
        done = pipeline.run(experiment)
        _refuse_other(_decided(done.results), _decided(results))
        return done


@contextmanager
def found_again(run: str | Path, *, trust: bool = False) -> Iterator[tuple[Experiment, dict[str, Any]]]:
    """The experiment of a finished run and its results, while its store only finds what it has.

    Args:
        run: folder of a run of ``train``, ``route`` or ``cascade``.
        trust: as for ``load``.

    Raises:
        InputError: if the folder has no finished run, the store has lost what it rests on, or something is
            not trusted.
    """
    folder = Path(run).absolute()
    results = _finished(folder, read_results, _decided, "train, route or cascade")
    with _asked_again(folder, results, trust) as experiment:
        yield experiment, results


def _asked_again(folder: Path, results: Mapping[str, Any], trust: bool) -> AbstractContextManager[Experiment]:
    """The experiment of a finished run."""
    return _only_finding(folder, results, {"baselines": None}, Experiment.from_values, trust)


@contextmanager
def _only_finding(
    folder: Path,
    results: Mapping[str, Any],
    changes: Mapping[str, Any],
    of: Callable[..., S],
    trust: bool,
) -> Iterator[S]:
    """What a finished run was asked for, with changes, while its store only finds what it has."""
    outputs = outputs_of(folder, results)
    config = {**read_yaml(folder / CONFIG), "outputs": str(outputs), "logger": None, **changes}
    try:
        with store_at(outputs / "store").only_finding():
            yield _parsed(config, of, trust)
    except UntrustedError as error:
        raise InputError(
            f"{folder / CONFIG}: {str(error).rstrip('.')}: add --trust (in Python trust=True) if you trust "
            "whoever wrote it."
        ) from None


def _parsed(config: Mapping[str, Any], of: Callable[..., S], trust: bool) -> S:
    """What was asked for, from a configuration that may be anybody's, or none at all."""
    try:
        return of(config, trusted=trust)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The {CONFIG} of the run is not one that this program writes ({type(error).__name__}: {error}): "
            "repeat the run."
        ) from error


def _device(name: str | None) -> torch.device | None:
    if name is None:
        return None
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device is {name!r}, which cannot be used here: it must be cpu, cuda or mps."
        ) from error
    return device


def _finished(
    folder: Path,
    read: Callable[[Path], dict[str, Any]],
    decides: Callable[[Mapping[str, Any]], object],
    makers: str,
) -> dict[str, Any]:
    """The results of a finished run.

    Args:
        folder: of the run.
        read: reads them.
        decides: what decides answers, of results; any error says that they are damaged.
        makers: the commands that may have made it, for messages.

    Raises:
        InputError: if the folder has none, or they are of another version.
    """
    try:
        results = read(folder)
        finished = results["status"] == "completed" and bool(decides(results))
    except (ArithmeticError, AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
        if isinstance(error, InputError) and "schema_version" in str(error):
            raise
        finished = False
    if not finished:
        raise InputError(
            f"The folder {folder} has no {RESULTS} of a finished run: name a folder that {makers} made."
        )
    return results


def _decided(results: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the answers of a run: place in its results → value."""
    values = {name: results.get(name) for name in ("command", "classes", "router")}
    values |= {f"artifacts.{name}.key": entry["key"] for name, entry in results["artifacts"].items()}
    if "cascade" in results:
        values["cascade.exits"] = results["cascade"]["exits"]
        values["cascade.dial.refuses"] = results["cascade"]["dial"]["refuses"]
        thresholds = {"cascade.dial": results["cascade"]["dial"]}
    elif results["router"]:
        thresholds = {
            f"thresholds.{index}.arrivals.{name}.thresholds.{kind}": one
            for index, entry in enumerate(results["thresholds"])
            for name, node in entry["arrivals"].items()
            for kind, one in node["thresholds"].items()
        }
    else:
        thresholds = {
            f"nodes.{name}.thresholds.{index}.threshold": entry["threshold"]
            for name, node in results["nodes"].items()
            for index, entry in enumerate(node["thresholds"])
        }
    for place, one in thresholds.items():
        value = one["value"]
        finite = value is not None and math.isfinite(value)  # what accepts nothing is null in the file
        values[f"{place}.value"] = float(value) if finite else None
    return values


def _refuse_other(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Refuse what is not the run any more: its configuration gives other answers than its results say."""
    for place in {**theirs, **mine}:
        one, other = mine.get(place), theirs.get(place)
        numbers = isinstance(one, float) and isinstance(other, float)
        # Scores are worked out again, on this processor.
        same = math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6) if numbers else one == other  # type: ignore[arg-type]
        if not same:
            raise InputError(
                f"{place} is {other} in the run's {RESULTS}, and its {CONFIG} and store give {one}: they do "
                "not belong together, so repeat the run."
            )


def _chosen(rules: Sequence[str], threshold: str | int | None) -> int:
    """The number of the threshold that decides.

    Raises:
        InputError: if none is chosen among several, or there is no such threshold.
    """
    numbers = [str(index) for index in range(len(rules))]
    if threshold is None and len(rules) == 1:
        return 0
    if str(threshold) in numbers:
        return int(str(threshold))
    if threshold in rules:
        return rules.index(str(threshold))
    there = ", ".join(f"{index} ({rule})" for index, rule in enumerate(rules))
    given = "is not given" if threshold is None else f"is {threshold!r}"
    raise InputError(
        f"The threshold {given}: the run has {there}; name one by its number or its rule (--threshold)."
    )


def _predictor(
    experiment: Experiment, results: Mapping[str, Any], device: torch.device | None, index: int
) -> Predictor:
    """A finished run, found again, with one of its thresholds."""
    router = experiment.router
    if router and router.bound:
        raise InputError(f"router={router.kind} is a bound and answers no new example: choose another.")
    done = pipeline.run(experiment)
    _refuse_other(_decided(done.results), _decided(results))
    workspace, tree = Workspace.of(experiment, done.table), experiment.tree
    branches = experiment.branches
    asked = experiment.gates if router and router.asks_gate else {}
    if done.cascade:
        tree, acceptances = done.cascade.tree, done.cascade.acceptances
        branches = {name: branches[name] for name in tree.nodes}
    elif done.tree:
        acceptances = done.tree.thresholds[index].acceptances
    else:
        acceptances = {name: one.thresholds[index].branch.acceptance for name, one in done.nodes.items()}
    rows, place = done.table.rows("test", tree.classes), device or experiment.compute.device()
    return Predictor(
        tree,
        load_parent(workspace),
        {name: _head(workspace, spec) for name, spec in branches.items()},
        {name: _head(workspace, spec) for name, spec in asked.items()},
        experiment.parent.labels.columns_of(tree.nodes[tree.root].groups) if router else None,
        done.tree.router if done.tree else None,
        acceptances,
        experiment.data.input,
        place,
        done.table.examples()[rows[:: -(-len(rows) // EXAMPLES)]],
        experiment.parent.kept.dtype,
        fitting_batch(outline(experiment.parent), experiment.parent.input.blank(), place),
    )


def _head(workspace: Workspace, spec: BranchSpec) -> Head:
    branch = load_branch(spec, ensure_branch(workspace, spec))
    return Head(branch, spec.stage, spec.readout, spec.trunk.name if spec.trunk else None)
