"""Every script of examples/ runs as it stands, in an empty folder."""

import runpy
from pathlib import Path

import matplotlib
import pytest

EXAMPLES = [
    pytest.param(file, id=file.stem, marks=[pytest.mark.thorough] if file.stem == "cascade_timing" else [])
    for file in sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
]


@pytest.mark.parametrize("file", EXAMPLES)
def test_an_example_runs(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(file)])
    monkeypatch.setattr(matplotlib, "use", lambda *_: None)
    runpy.run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out
    assert list(tmp_path.glob("outputs/runs/*/results.json"))
