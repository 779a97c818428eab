"""Intervals keep their level in simulations whose truth is known."""

from pathlib import Path

import pytest

from neural_branching import cli
from neural_branching.report import interval_coverage as module
from neural_branching.report.interval_coverage import STATISTICS, interval_coverage


def test_every_interval_holds_the_truth_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POPULATION", 500_000)
    chosen = {"binormal, .75": module.POPULATIONS["binormal, .75"]}
    monkeypatch.setattr(module, "POPULATIONS", chosen)
    monkeypatch.setattr(module, "ACCURACIES", (0.95,))
    found = interval_coverage([300], 1000)
    assert [one.statistic for one in found] == list(STATISTICS)
    for one in found:
        # Percentiles of a bootstrap hold AURC in .89 of draws; of 1000 the standard error is .007.
        assert one.coverage > 0.925, one
        assert one.width < 1.4, one
        assert one.undefined == 0


def test_the_command_writes_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(module, "POPULATION", 10_000)
    monkeypatch.setattr(module, "ACCURACIES", (0.99,))
    command = [
        "neural-branching",
        "simulate",
        str(tmp_path),
        "--intervals",
        "--examples",
        "20",
        "--draws",
        "5",
    ]
    monkeypatch.setattr("sys.argv", command)
    cli.main()
    text = (tmp_path / "intervals.md").read_text(encoding="utf-8")
    assert text.count("| 0.99 |") == len(module.POPULATIONS)
    assert "undefined" in text  # without an error there is no failure AUROC
    assert "**n = 20**" in capsys.readouterr().out


@pytest.mark.slow
def test_the_table_of_the_docs() -> None:
    found = interval_coverage([300, 1000], 1000)
    usual = [one.coverage for one in found if one.population != "noisy"]
    assert min(usual) >= 0.92
    assert sum(one >= 0.93 for one in usual) >= 0.98 * len(usual)
