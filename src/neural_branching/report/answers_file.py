"""Predictions on the screen and in files."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from neural_branching.errors import InputError, printable
from neural_branching.files.csv_text import csv_lines, text_cell
from neural_branching.files.writing import whole_file
from neural_branching.report.cells import number
from neural_branching.report.screen_table import Column, ScreenTable, console, print_table
from neural_branching.store.run_folders import is_of_a_run

if TYPE_CHECKING:
    from neural_branching.predictor import Prediction

SHOWN = 20
COLUMNS = (
    *("file", "answer", "path", "confidence", "accepted"),
    *("stopped_at", "candidate", "score", "threshold", "error"),
)


def check_output(output: Path | None) -> None:
    """Check the name of the file that predictions go to, before anything is computed.

    Raises:
        InputError: for another suffix than .csv and .jsonl, what is no file, or a file of a run, a sweep or a
            store.
    """
    if output is None:
        return
    if output.suffix not in (".csv", ".jsonl"):
        raise InputError(f"--output is {str(output)!r}: its name must end in .csv or .jsonl.")
    place = output.resolve()
    if not place.parent.is_dir():
        raise InputError(f"--output {output} cannot be written (its folder does not exist).")
    if place.exists() and not place.is_file():
        raise InputError(f"--output {output} cannot be written (it is there, and no file).")
    if place.exists() and is_of_a_run(place):
        raise InputError(f"--output {output} is a file of a run, a sweep or a store: choose another name.")


class Writer:
    """Takes predictions one at a time: a file's suffix decides its form, the screen gets the first."""

    def __init__(self) -> None:
        self.shown: list[list[str]] = []
        self.counts: Counter[str] = Counter()
        self.errors: dict[str, str] = {}
        self._file: TextIO | None = None
        self._csv = False

    @contextmanager
    def to(self, output: Path | None) -> Iterator[None]:
        """Write what is taken meanwhile into a file, which is there when all of it is, or not at all.

        Args:
            output: a ``.csv`` or ``.jsonl`` file; None for none.

        Raises:
            InputError: for a file that cannot be written.
        """
        if output is None:
            yield
            return
        place = output.resolve()
        try:
            with (
                whole_file(place) as temporary,
                temporary.open("w", newline="", encoding="utf-8") as self._file,
            ):
                self._csv = output.suffix == ".csv"
                self._line(COLUMNS)
                yield
        except OSError as error:
            if error.filename != str(place):
                raise
            raise InputError(f"--output {output} cannot be written ({error.strerror or error}).") from error

    def answered(self, name: str, one: "Prediction") -> None:
        """Take the answer to an example."""
        stopped = "" if one.accepted else one.trace[-1].node
        path = " > ".join(one.path)
        self.counts[_kind(one)] += 1
        confidence = f"{one.confidence:.6g}"
        last, accepted = one.trace[-1], str(int(one.accepted))
        asked = [last.label, f"{last.score:.6g}", f"{last.threshold:.6g}"]
        self._line([name, one.answer or "", path, confidence, accepted, stopped, *asked, ""])
        if self._file and not self._csv:
            self._file.write(json.dumps({"file": name, **_plain(asdict(one))}) + "\n")
        if len(self.shown) < SHOWN:
            paths = (
                f"{_shown(step.label)} {step.probability:.2f}{'' if step.accepted else ' ✗'}"
                for step in one.trace
            )
            accepted = "yes" if one.accepted else "no"
            self.shown.append(
                [
                    printable(name),
                    _shown(one.answer or "–"),
                    number(one.confidence),
                    accepted,
                    " > ".join(paths),
                ]
            )

    def failed(self, name: str, reason: str) -> None:
        """Take an example that could not be read."""
        self.counts["broken"] += 1
        self.errors[name] = reason
        self._line([name, "", "", "", "0", "", "", "", "", reason])
        if self._file and not self._csv:
            self._file.write(json.dumps({"file": name, "error": reason}) + "\n")

    def _line(self, line: Iterable[str]) -> None:
        if self._file and self._csv:
            self._file.writelines(csv_lines([map(text_cell, line)]))

    def finish(self, output: Path | None, seconds: float) -> None:
        """Print the first predictions, how many of each kind there are, and what could not be read."""
        screen, total = console(), sum(self.counts.values())
        title = f"{total} examples" + (f", the first {SHOWN}" if total > SHOWN else "")
        columns = [Column("example", "name"), Column("answer", "name"), Column("confidence")]
        columns += [Column("accepted", "name"), Column("trace (✗: not accepted)", "name")]
        print_table(screen, ScreenTable(title, columns, self.shown))
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        screen.print(f"{kinds}; {total / max(seconds, 1e-9):,.0f} examples per second.", highlight=False)
        for file, reason in self.errors.items():
            screen.print(printable(f"cannot be read: {file}: {reason}"), highlight=False, soft_wrap=True)
        if output:
            screen.print(f"All of them: {output}", highlight=False, soft_wrap=True)


def _kind(one: "Prediction") -> str:
    if one.accepted:
        return "accepted"
    if one.path:
        return "backed off"
    return "no answer" if one.answer is None else "not accepted"


def _plain(value: Any) -> Any:
    """JSON has no infinity: what accepts nothing has threshold null."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and abs(value) == float("inf") else value


def _shown(answer: str) -> str:
    """An answer for a screen, which what a model wrote must not steer."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in printable(answer))
