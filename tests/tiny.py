"""Experiments that take a second: the settings that test files share, as the command line takes them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from device import TRAINER

if TYPE_CHECKING:
    from neural_branching.pipeline import Run

ClassFolders = Callable[..., Path]
GlyphRun = Callable[..., "Run"]

GLYPHS = {
    "digit": ("digit_0", "digit_1", "digit_2"),
    "upper": ("upper_O", "upper_I", "upper_Z"),
    "lower": ("lower_o", "lower_l", "lower_z"),
}
# A rule for the threshold that such small branches can follow: they answer some images and leave others.
ORDINARY = ("threshold=coverage", "threshold.target=0.6")


def glyphs(
    upper: int = 3, lower: int = 0, *, size: int = 12, train: int = 40, test: int = 10
) -> tuple[str, ...]:
    """Three digits beside so many upper-case and lower-case letters, and so many images of each class."""
    chosen = {"digit": GLYPHS["digit"], "upper": GLYPHS["upper"][:upper], "lower": GLYPHS["lower"][:lower]}
    groups = {name: classes for name, classes in chosen.items() if classes}
    inner = ",".join(f"{name}:[{','.join(classes)}]" for name, classes in groups.items())
    return (
        f"data.classes=[{','.join(one for classes in groups.values() for one in classes)}]",
        f"data.superclasses={{{inner}}}",
        f"data.source.train_per_class={train}",
        f"data.source.test_per_class={test}",
        f"data.image_size={size}",
    )


def recipe(*, epochs: int, lr: float, batch_size: int = 32, keep: str = "best") -> tuple[str, ...]:
    """A recipe for parent and branch, spelled out, so that other defaults change no test."""
    options = (
        *(f"epochs={epochs}", f"batch_size={batch_size}", f"lr={lr}", "optimizer=adam", "weight_decay=0"),
        *("schedule=constant", "label_smoothing=0", f"keep={keep}", "monitor=val/loss", "patience=null"),
        "precision=32-true",
    )
    return tuple(f"++{part}.fit.{option}" for part in ("parent", "branch") for option in options)


def networks(parent: tuple[int, int] = (16, 12), branch: int | None = 8) -> tuple[str, ...]:
    """Narrow perceptrons on the tests' device; None keeps the branch's default width."""
    widths = [f"parent.network.widths=[{parent[0]},{parent[1]}]"]
    widths += [f"branch.network.widths=[{branch}]"] if branch else []
    return (*widths, *TRAINER)
