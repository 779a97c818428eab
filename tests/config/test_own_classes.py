"""An own class is known by its code: what older code has made is not found again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import neural_branching as nb
from neural_branching.config.own_classes import find_own_modules, with_code
from neural_branching.errors import InputError

SOURCE = '''
"""A net."""
import enum
import functools
from dataclasses import dataclass

from torch import nn

import own_blocks
from own_blocks import Base

WIDTH = 8
ORDER = ("a", "b")
Activation = nn.ReLU
KINDS = {"one", "two", "three"}
half = functools.partial(nn.Dropout, 0.5)


class Depth(enum.Enum):
    SHALLOW = 1


@dataclass
class Options:
    scale: float = 1.5


OPTIONS = Options(2.5)


@functools.lru_cache
def cached(x):
    return x + 4


def wrapping(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args) - 5

    return inner


@wrapping
def wrapped(x):
    return x + 6


def activation():
    return Activation()


def unused():
    return "nothing"


class Net(Base):
    depth = 2

    def __init__(self, in_shape, num_classes):
        super().__init__()
        self.wide = WIDTH in {8, 16}
        self.body = nn.Sequential(*[own_blocks.block(WIDTH) for _ in range(self.depth)], activation())

    @property
    def size(self):
        return len(ORDER)

    @functools.cached_property
    def late(self):
        from own_blocks import later

        return later() + cached(7) + wrapped(8)

    def chosen(self, scale=lambda x: x * 11):
        global made
        made += 1
        return Depth.SHALLOW, OPTIONS.scale, "one" in KINDS, half, TABLE

    @staticmethod
    def twice(x):
        """As it says."""
        settings = [2 * one for one in x]
        return settings


made = 0
TABLE = {"a": nn.ReLU}
TABLE["b"] = nn.Tanh
TABLE.update(c=nn.GELU)
settings = {"epochs": 3}  # of the script, whose name a local variable has too
'''
BLOCKS = """
from torch import nn


class Base(nn.Module):
    def forward(self, x):
        return self.body(x)


def block(width):
    return nn.Linear(width, width)


def later():
    return 12


"""

Known = Callable[..., Any]


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def code_of(old: str = "", new: str = "", *, trusted: bool = True) -> Any:
        for name, source in (("own_net", SOURCE), ("own_blocks", BLOCKS)):
            assert not old or old in SOURCE + BLOCKS
            (tmp_path / f"{name}.py").write_text(source.replace(old, new) if old else source)
            sys.modules.pop(name, None)
        return with_code({"_target_": "own_net.Net", "depth": 1}, trusted=trusted)

    yield code_of
    for name in ("own_net", "own_blocks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Activation = nn.ReLU", "Activation = nn.GELU"),
        ("return Activation()", "return Activation(inplace=True)"),
        ("WIDTH = 8", "WIDTH = 9"),
        ('("a", "b")', '("a", "c")'),
        ("depth = 2", "depth = 3"),
        ("{8, 16}", "{8, 17}"),
        ("2 * one", "3 * one"),
        ("len(ORDER)", "2 + len(ORDER)"),
        ("nn.Linear(width, width)", "nn.Linear(width, width, bias=False)"),
        ("self.body(x)", "self.body(-x)"),
        ("class Net(Base)", "class Net(Base, nn.Identity)"),
        ('"three"', '"four"'),
        ("SHALLOW = 1", "SHALLOW = 2"),
        ("Options(2.5)", "Options(3.5)"),
        ("scale: float = 1.5", "scale: float = 1.75"),
        ("return x + 4", "return x + 40"),
        ("function(*args) - 5", "function(*args) - 50"),
        ("return x + 6", "return x + 60"),
        ("cached(7)", "cached(70)"),
        ("return 12", "return 120"),
        ("x * 11", "x * 110"),
        ('"a": nn.ReLU', '"a": nn.SiLU'),
        ('["b"] = nn.Tanh', '["b"] = nn.SiLU'),
        ("update(c=nn.GELU)", "update(c=nn.SiLU)"),
        ("nn.Dropout, 0.5", "nn.Dropout, 0.25"),
    ],
)
def test_every_change_of_what_it_names_is_another_class(known: Known, old: str, new: str) -> None:
    assert known()["code"] != known(old, new)["code"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nWIDTH = 8", "\n\n# Wide enough.\nWIDTH = 8"),
        ('return "nothing"', 'return "something"'),
        ("As it says.", "As it says it."),
        ('{"epochs": 3}', '{"epochs": 4}'),
    ],
)
def test_comments_and_what_it_does_not_name_do_not_count(known: Known, old: str, new: str) -> None:
    assert known() == known() == known(old, new)


def test_installed_classes_are_known_by_their_names(known: Known) -> None:
    for name in ("torch.nn.Linear", "neural_branching.networks.mlp.MLP", "numpy.mean", "argparse.Action"):
        assert with_code({"_target_": name}, trusted=True) == {"_target_": name}
    nested = {"_target_": "torch.nn.Sequential", "first": {"_target_": "own_net.Net"}}
    known()
    assert set(with_code(nested, trusted=True)["code"]) == {"own_net.Net"}
    for name in ("own_net.Net.twice", "own_net.half", "own_net.cached", "own_net.wrapped"):
        assert set(with_code({"_target_": name}, trusted=True)["code"]) == {name}


def test_what_a_program_does_changes_nothing(known: Known) -> None:
    before = known()
    module = sys.modules["own_net"]
    module.Net.chosen(None)
    module.TABLE["d"] = int
    assert module.made == 1
    assert with_code({"_target_": "own_net.Net", "depth": 1}, trusted=True) == before


def test_a_class_of_a_notebook_is_known_by_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    def code_of(*cells: str) -> Any:
        notebook = ModuleType("__main__")
        exec("\n".join(cells[1:]), notebook.__dict__)
        notebook.In = list(cells)
        monkeypatch.setitem(sys.modules, "__main__", notebook)
        return with_code({"_target_": "__main__.Net"}, trusted=True)

    cells = ("%matplotlib inline", "scale = 3", "class Net:\n    size = scale", "shown = 5")
    assert code_of(*cells)["code"] == code_of(*cells, "shown = 7")["code"]
    assert code_of(*cells)["code"] != code_of(*cells[:1], "scale = 4", *cells[2:])["code"]
    del sys.modules["__main__"].In
    with pytest.raises(InputError, match="typed at a prompt has no source"):
        with_code({"_target_": "__main__.Net"}, trusted=True)


def test_another_process_finds_the_same(known: Known, tmp_path: Path) -> None:
    mine = known()
    code = (
        "import json; from neural_branching.config.own_classes import with_code\n"
        "print(json.dumps(with_code({'_target_': 'own_net.Net', 'depth': 1}, trusted=True)))"
    )
    for seed in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
            "PYTHONHASHSEED": seed,
        }
        found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        assert json.loads(found.stdout) == mine


def test_nothing_is_imported_that_is_not_trusted(known: Known) -> None:
    assert known(trusted=False) == {"_target_": "own_net.Net", "depth": 1}
    assert "own_net" not in sys.modules


def test_modules_of_the_working_folder_are_found_where_nobody_else_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = [*sys.path]
    (tmp_path / "torch.py").write_text("raise SystemExit")
    find_own_modules({"network": {"_target_": "torch.nn.Linear"}, "other": {"_target_": "no_such.Class"}})
    assert sys.path == before
    (tmp_path / "own_probe.py").write_text("")
    find_own_modules({"network": [{"_target_": "own_probe.Net"}]})
    assert sys.path == [*before, str(tmp_path)]


def test_a_parent_of_changed_code_is_another_parent(known: Known) -> None:
    def parent(*change: str) -> str:
        known(*change)
        grown = nb.Branch("digits", at="body")
        return nb.Experiment(nb.sources.Glyphs(), nb.parents.Module("own_net.Net"), grown).spec().parent.text

    assert parent() == parent()
    assert parent() != parent("WIDTH = 8", "WIDTH = 9")
