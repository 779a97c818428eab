"""``specialize``: do branches of a network specialise, and what is it worth?"""

import argparse
from pathlib import Path

from neural_branching.commands.launch import first_job, hydra_flags, launch
from neural_branching.commands.predict import TRUST
from neural_branching.errors import InputError, whole

PERMUTATIONS = 2000
DIVISIONS = 100  # of the units of branches at random
_HYDRA = ("config_dir", "config_path", "config_name")
# What is asked for instead of a study → the options that go with it.
_FORMS = {
    "labels": ("permutations",),
    "branches": ("permutations", "trust"),
    "partitions": (*_HYDRA, "overrides"),
}
_USAGE = """neural-branching specialize [-m] [GROUP=FILE ...] [OPTION=VALUE ...]
       neural-branching specialize --labels FILE [--permutations N]
       neural-branching specialize --branches FOLDER [FOLDER ...] [--permutations N] [--trust]
       neural-branching specialize --partitions [--config-dir DIR] [--config-path DIR]
                                                [--config-name NAME] [OVERRIDE ...]"""


def main(arguments: list[str]) -> None:
    """Run or sweep studies; or compare branches of runs; or test labels; or say where a network is divided.

    Args:
        arguments: overrides and Hydra's flags; or ``--branches RUN …``; or ``--labels FILE``; or
            ``--partitions`` and overrides.

    Raises:
        InputError: if the configuration or the file cannot be used.
    """
    typed = {argument.partition("=")[0] for argument in arguments}
    other = not typed.isdisjoint(f"--{form}" for form in _FORMS)
    wants_help = not typed.isdisjoint(("-h", "--help"))
    if wants_help:
        print(_parser().format_help())
    if not other:
        launch("specialize", arguments)
    elif not wants_help:
        _instead_of_a_study(_parser().parse_intermixed_args(arguments))


def _parser() -> argparse.ArgumentParser:
    """What is typed instead of a study."""
    parser = argparse.ArgumentParser(
        usage=_USAGE,
        description="A study of branch specialization, whose options follow below; or, with --labels, "
        "--branches or --partitions, something that trains nothing.",
        parents=[hydra_flags()],
        add_help=False,
    )
    labels = parser.add_argument_group("labels of units that somebody has given")
    labels.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="JSON with stage, units, branches and labels: does a label lie in one branch? A picture goes "
        "into a folder beside it",
    )
    branches = parser.add_argument_group("task branches of one parent")
    branches.add_argument(
        "--branches",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="finished runs of train or route, or folders of them such as a sweep, whose branches have one "
        "parent, and a branch.seed each lest they start alike: compare them, and write own_branches.csv, .md "
        "and .png into the first folder",
    )
    branches.add_argument("--trust", action="store_true", default=None, help=TRUST)
    parser.add_argument_group("with --labels or --branches").add_argument(
        "--permutations",
        type=int,
        metavar="N",
        help=f"of the labels or the branches, {PERMUTATIONS} unless it is said",
    )
    partitions = parser.add_argument_group("where a network is divided")
    partitions.add_argument(
        "--partitions",
        action="store_true",
        default=None,
        help="list the divided stages of the parent that overrides describe",
    )
    partitions.add_argument(
        "overrides",
        nargs="*",
        metavar="OVERRIDE",
        help="as for a study, such as parent=torchvision parent.model=googlenet",
    )
    return parser


def _instead_of_a_study(options: argparse.Namespace) -> None:
    """Do what was asked for.

    Raises:
        InputError: for options that do not go together, and as the parts below.
    """
    given = [name for name, value in vars(options).items() if value not in (None, [])]
    form = next(name for name in _FORMS if name in given)
    for name in given:
        if name != form and name not in _FORMS[form]:
            allowed = ", ".join(map(_typed, _FORMS[form]))
            raise InputError(f"--{form} does not go with {_typed(name)}: allowed beside it are {allowed}.")
    count = PERMUTATIONS if options.permutations is None else options.permutations
    permutations = whole(count, "--permutations", 1)
    if form == "branches":
        _compare(options.branches, permutations, trust=bool(options.trust))
    elif form == "labels":
        from neural_branching.labs.specialization.labels_report import report_labels

        report_labels(options.labels, permutations)
    else:
        parent = first_job(options, "specialize").parent

        from neural_branching.labs.specialization.partition_table import print_partitions

        print_partitions(parent)


def _typed(name: str) -> str:
    """An option as it is typed."""
    return "overrides" if name == "overrides" else f"--{name.replace('_', '-')}"


def _compare(folders: list[Path], permutations: int, *, trust: bool) -> None:
    """Compare the branches of the runs in some folders."""
    from neural_branching.files.progress import progress
    from neural_branching.labs.specialization.own_branches import OwnBranch, read_branches, relate
    from neural_branching.labs.specialization.own_branches_report import report
    from neural_branching.load_run import found_again
    from neural_branching.store.run_folders import runs_below

    runs = sorted({run for folder in folders for run in runs_below(folder)})
    if not runs:
        raise InputError(f"--branches: no run lies in {', '.join(map(str, folders))}.")
    branches: list[OwnBranch] = []
    with progress("Reading branches") as show:
        for number, run in enumerate(runs, 1):
            with found_again(run, trust=trust) as (experiment, results):
                branches += read_branches(experiment, results)
            show(number / len(runs))
    report(relate(branches, permutations, DIVISIONS), folders[0])
