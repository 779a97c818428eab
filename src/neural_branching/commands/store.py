"""``store``: what is kept, whether it is whole, and what no run needs any more."""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """List, verify or prune the artifacts of a folder of outputs.

    Args:
        arguments: the action, the folder and options.

    Raises:
        InputError: if the folder has no store, or another process uses what is to be pruned.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching store",
        description="What a store holds, whether it is whole, and what no run needs any more.",
    )
    parser.add_argument(
        "action",
        choices=("list", "verify", "prune"),
        help="list artifacts; hash all of them again, exit code 1 if one is damaged; remove what no run "
        "refers to",
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"), help="as given by outputs=")
    parser.add_argument("--dry-run", action="store_true", help="prune: only say what would go")
    parser.add_argument("--all", action="store_true", help="prune: also what runs refer to")
    options = parser.parse_args(arguments)

    from neural_branching.report.store_table import print_contents, print_problems, print_pruned
    from neural_branching.store.upkeep import contents, prune, verify

    if options.action == "list":
        print_contents(contents(options.folder))
    elif options.action == "verify":
        if print_problems(verify(options.folder)):
            sys.exit(1)
    else:
        pruned = prune(options.folder, everything=options.all, really=not options.dry_run)
        print_pruned(pruned, really=not options.dry_run)
