"""Figures are made in every test and rendered where one looks at them: rendering takes long."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from neural_branching.report.figures.style import LiteralFigure

_render = LiteralFigure.savefig


def _leave_out(figure: Figure, file: Path, **_: Any) -> None:
    """A picture of one pixel."""
    if Path(file).suffix == ".png":
        Image.new("RGB", (1, 1)).save(file)
    else:
        Path(file).write_text('<svg xmlns="http://www.w3.org/2000/svg"/>', encoding="utf-8")


def install() -> None:
    """Render nothing from here on."""
    LiteralFigure.savefig = _leave_out  # type: ignore[method-assign, assignment]


@contextmanager
def rendering() -> Iterator[None]:
    """Render figures for a while."""
    before = LiteralFigure.savefig
    LiteralFigure.savefig = _render  # type: ignore[method-assign]
    try:
        yield
    finally:
        LiteralFigure.savefig = before  # type: ignore[method-assign]
