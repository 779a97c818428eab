"""Neural branching: grow small, selective networks from the hidden layers of a frozen parent.

``data → parent → activations → branch → threshold → router → report``: each arrow is one step, each step
has one room in this package, and nothing flows back.

- ``data`` has sources, splits and subsets of classes, and alone knows what an example looks like.
- ``networks`` are ordered sequences of named stages; a *branch point* is the name of a stage.
- ``training`` fits the parent, once, and branches on its activations.
- ``store`` and ``artifacts`` build parents, activations and branches once and find them again.
- ``selection`` decides when a branch answers and when it abstains; ``routing`` chooses among branches.
- ``evaluation`` reads the test split, in one place; ``report`` makes tables, figures and events of it.
- ``pipeline`` is the whole flow on one page; ``commands`` and ``facade`` are its two doors.

From Python::

    import neural_branching as nb

    experiment = nb.Experiment(
        data=nb.sources.Glyphs(),
        parent=nb.parents.MLP([1024, 512]),
        branches=nb.Branch("digits", at="hidden2", threshold=nb.thresholds.RandomWalk(0.1)),
    )
    run = experiment.run("outputs")

Importing this package imports nothing heavy: every name is looked up when it is asked for.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Name → module, or module and name within it.
_NAMES = {
    "Experiment": ("facade.declaration", "Experiment"),
    "Branch": ("facade.grown", "Branch"),
    "Tree": ("facade.grown", "Tree"),
    "Cascade": ("facade.grown", "Cascade"),
    "Judge": ("facade.grown", "Judge"),
    "load": ("load_run", "load"),
    "summary": ("facade.frames", "summary"),
    "sources": ("facade.sources", None),
    "parents": ("facade.parents", None),
    "scores": ("selection.scores", None),
    "thresholds": ("selection.thresholds", None),
    "routers": ("routing.routers", None),
    "promises": ("routing.promises", None),
    "targets": ("labs.self_evaluation.targets", None),
    "ExitChoice": ("routing.exit_choice", "ExitChoice"),
}

__all__ = ["__version__", *_NAMES]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place, inner = _NAMES[name]
    module = import_module(f"{__name__}.{place}")
    return module if inner is None else getattr(module, inner)


def __dir__() -> list[str]:
    return sorted(__all__)
