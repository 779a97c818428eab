"""``export``: a finished run as one program."""

import argparse
from pathlib import Path

from neural_branching.commands.predict import THRESHOLD, TRUST
from neural_branching.errors import InputError, one_of


def main(arguments: list[str]) -> None:
    """Write a finished run as one program, from examples to answers.

    Args:
        arguments: the run's folder and the file.

    Raises:
        InputError: if the run cannot be loaded or written down.
    """
    parser = argparse.ArgumentParser(
        prog="neural-branching export",
        description="Write a finished run as one program, and check that it answers as the run does.",
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("file", type=Path, help="FILE.pt2 for torch.export, FILE.onnx for ONNX")
    parser.add_argument("--threshold", help=THRESHOLD)
    parser.add_argument("--trust", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)
    one_of(options.file.suffix, (".pt2", ".onnx"), "The suffix of the file")
    if not options.file.absolute().parent.is_dir():
        raise InputError(f"{options.file} cannot be written: its folder does not exist.")

    from neural_branching.exported_program import export
    from neural_branching.load_run import load

    predictor = load(options.run, "cpu", trust=options.trust, threshold=options.threshold)
    compared, difference = export(predictor, options.file)
    print(
        f"{options.file}: answers {compared} test examples as the run does, confidences within "
        f"{difference:.1e}; {len(predictor.examples) - compared} lie within rounding of a threshold."
    )
