"""Figures are made in every test and rendered where one looks at them: rendering takes long."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image


def _leave_out(figure: Figure, file: Path, **_: Any) -> None:
    """A picture of one pixel."""
    if Path(file).suffix == ".png":
        Image.new("RGB", (1, 1)).save(file)
    else:
        Path(file).write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")


@cache
def _figures() -> tuple[Any, Any]:
    """The class of all figures and how they are rendered; imported late, after the checks of arrays."""
    from neural_branching.report.figures.style import LiteralFigure

    return LiteralFigure, LiteralFigure.savefig


def install() -> None:
    """Render nothing from here on."""
    kind, _ = _figures()
    kind.savefig = _leave_out


@contextmanager
def rendering() -> Iterator[None]:
    """Render figures for a while."""
    kind, render = _figures()
    before, kind.savefig = kind.savefig, render
    try:
        yield
    finally:
        kind.savefig = before
