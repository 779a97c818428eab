"""``predict``: what a finished run answers to new files."""

import argparse
import sys
from pathlib import Path

TRUST = "also build what the run's configuration names of other packages, such as a parent of your own"
THRESHOLD = "of a run with several thresholds, the number (from 0) or the rule of the one that decides"


def main(arguments: list[str]) -> None:
    """Answer files with a finished run.

    Args:
        arguments: the run's folder, files and options.

    Raises:
        InputError: if the run cannot be loaded, or there is nothing to answer.
    """
    from neural_branching.data.decode import MAX_PIXELS

    parser = argparse.ArgumentParser(
        prog="neural-branching predict", description="What a finished run answers to new files."
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument(
        "files", type=Path, nargs="+", help="examples like those of the run, or folders of them"
    )
    parser.add_argument("--output", type=Path, help="also write every answer to a .csv or .jsonl file")
    parser.add_argument("--batch", type=int, default=256, help="examples per pass (256)")
    parser.add_argument("--device", help="cpu, cuda or mps; what the run was told if left out")
    parser.add_argument(
        "--max-pixels", type=int, default=MAX_PIXELS, help=f"of what is opened ({MAX_PIXELS:,})"
    )
    parser.add_argument("--threshold", help=THRESHOLD)
    parser.add_argument("--trust", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)

    import time

    from neural_branching.errors import InputError, whole
    from neural_branching.report.answers_file import Writer, check_output

    batch = whole(options.batch, "--batch", 1)
    for place in options.files:
        if not place.exists():
            raise InputError(f"{place} does not exist: name files, or folders of them.")
    max_pixels = whole(options.max_pixels, "--max-pixels", 1)
    check_output(options.output)

    from rich.progress import track

    from neural_branching.load_run import load

    predictor, writer = (
        load(options.run, options.device, trust=options.trust, threshold=options.threshold),
        Writer(),
    )
    with writer.to(options.output):
        start = time.perf_counter()
        passes, batches = predictor.input.read_files(options.files, batch, max_pixels)
        for good, examples, broken in track(batches, "Predicting", passes, transient=True):
            refused = predictor.refused(examples)
            left = [place for place in range(len(good)) if place not in refused]
            asked = examples[left] if refused else examples
            for place, answer in zip(left, predictor.predict(asked), strict=True):
                writer.answered(good[place], answer)
            broken = {**broken, **{good[place]: reason for place, reason in refused.items()}}
            for file, reason in broken.items():
                writer.failed(file, reason)
        seconds = time.perf_counter() - start
    writer.finish(options.output, seconds)
    if writer.errors:
        sys.exit(1)
