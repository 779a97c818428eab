"""``init``: the configuration of one's own data set, to fill in."""

import argparse
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Write the configuration of a data set, with the classes that are there.

    Args:
        arguments: what to make, of what, and options.

    Raises:
        InputError: for data that cannot be read, a name that is taken, and a file that is there already.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching init", description="Write the configuration of a data set of yours."
    )
    parser.add_argument("what", choices=["data"], help="data: a file for the group data")
    parser.add_argument(
        "place", type=Path, metavar="FOLDER", help="class folders, or a file of texts or vectors"
    )
    parser.add_argument("--name", help="of the data set; that of the folder if left out")
    parser.add_argument(
        "--config-dir", type=Path, default=Path("conf"), help="folder of your configurations (conf)"
    )
    options = parser.parse_args(arguments)

    import yaml

    from neural_branching.config.build import conf_dir
    from neural_branching.data.hashes import FileHashes
    from neural_branching.data.sources.recognise import recognise
    from neural_branching.errors import InputError, folder_name
    from neural_branching.files.writing import write_atomically

    place = options.place.resolve()
    name = folder_name(options.name or (place.stem if place.is_file() else place.name), "--name")
    file = options.config_dir / "data" / f"{name}.yaml"
    if (conf_dir() / "data" / file.name).exists():
        raise InputError(f"--name is {name!r}, which this package has itself: choose another.")
    if file.exists():
        raise InputError(f"{file} is there already: remove it, or choose another --name.")
    kind, source = recognise(place)
    hashes = FileHashes(options.config_dir)
    classes = source.class_names(hashes)
    counts = source.counts(classes, hashes)
    for text in (str(place), *classes):
        if "${" in text:
            raise InputError(
                f"{text!r} cannot stand in a configuration, which takes ${{ for a reference: rename it."
            )
    found = sum(sum(one.values()) for one in counts.values())

    def listed(value: object) -> str:
        text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
        return text.removesuffix("...\n").strip()

    settings = f"""\
# {found:,} {source.input.name} of {len(classes)} classes. A branch tells all of them apart unless you choose:
#   subset=custom subset.classes=[A,B]           any of the classes
#   subset=superclass subset.superclass=NAME     those of a superclass below
defaults:
  - {kind}
  - _self_
name: {listed(name)}
root: {listed(str(place))}
classes: {listed(list(classes))} # in the order of their labels
superclasses: null # or one line for each, as in
#  NAME: {listed(list(classes[:2]))}
"""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, settings)
    flags = f"--config-dir {options.config_dir} data={name}"
    print(
        f"{file}: {len(classes)} classes, {found:,} {source.input.name}. Now, for example:\n"
        f"  neural-branching stages {flags}\n  neural-branching train {flags}"
    )
