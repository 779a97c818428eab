"""What guaranteed rules would keep with other numbers of calibration examples."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural_branching.errors import InputError
from neural_branching.report.guarantee_simulation import RULES, simulate, write_simulation
from neural_branching.report.predictions_file import read_predictions
from neural_branching.report.run_report import write_run
from sweeps import adopt

pytestmark = pytest.mark.usefixtures("rendered")


@pytest.fixture(scope="module")
def runs(glyph_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One setting with two seeds; a second threshold has the same scores and adds nothing."""
    folder = tmp_path_factory.mktemp("simulated")
    for seed in (0, 1):
        for rule in ("coverage", "conformal"):
            place = folder / f"{rule}_{seed}"
            place.mkdir()
            write_run(glyph_run(f"branch.seed={seed}", f"threshold={rule}"), place, draw_figures=False)
    return folder


def test_every_rule_and_size_has_its_line(runs: Path) -> None:
    records, _ = simulate(runs, 0.4, 0.2, [20, 200], 50)
    assert [(one.rule, one.n) for one in records] == [(rule.kind, n) for n in (20, 200) for rule in RULES]
    assert all(one.runs == 2 for one in records)
    for one in records:
        # 50 draws: three standard errors above δ.
        assert one.violations <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / 50)
        assert 0 <= one.coverage <= 1
    few, many = ({one.rule: one.coverage for one in records if one.n == n} for n in (20, 200))
    assert sum(many.values()) > sum(few.values())


def test_the_oracle_is_the_largest_coverage_within_the_target(runs: Path, run) -> None:
    records, _ = simulate(runs, 0.3, 0.1, [10], 1)
    oracles = []
    for seed in (0, 1):
        everything = read_predictions(runs / f"conformal_{seed}", run.results["classes"])
        score, error = (
            np.concatenate([getattr(everything.of(split), name) for split in ("calibration", "test")])
            for name in ("score", "error")
        )
        kept = [np.mean(score >= tau) for tau in score if error[score >= tau].mean() <= 0.3]
        oracles.append(max(kept, default=0))
    assert records[0].oracle == pytest.approx(np.mean(oracles))


def test_draws_are_the_same_every_time(runs: Path) -> None:
    assert simulate(runs, 0.4, 0.1, [50], 5)[0] == simulate(runs, 0.4, 0.1, [50], 5)[0]


def test_images_that_the_score_learned_from_are_not_drawn(glyph_run, tmp_path: Path, run) -> None:
    write_run(glyph_run("score=temperature"), tmp_path, draw_figures=False)
    calibration = read_predictions(tmp_path, run.results["classes"]).of("calibration")
    learned = calibration[calibration.fits == "score"]
    assert 0 < len(learned) < len(calibration)
    before = simulate(tmp_path, 0.4, 0.1, [50], 20)[0]
    # Whatever is written about them changes nothing.
    text = (tmp_path / "predictions.csv").read_text().splitlines()
    header = text[0].split(",")
    changed = []
    for line in text[1:]:
        cells = line.split(",")
        if cells[header.index("fits")] == "score":
            cells[header.index("score")] = "0.123"
        changed.append(",".join(cells))
    adopt(tmp_path, "predictions.csv", "\n".join([text[0], *changed]) + "\n")
    assert simulate(tmp_path, 0.4, 0.1, [50], 20)[0] == before


def test_tables_and_figures_are_written(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, figure = simulate(runs, 0.4, 0.1, [20, 50], 10)
    write_simulation(runs, records, figure)
    printed = capsys.readouterr().out
    with (runs / "simulation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(records)
    document = (runs / "simulation.md").read_text()
    for one in records:
        cell = f"{one.coverage:.3f} ({one.violations:.3f})"
        assert cell in document
        assert cell in printed
    assert "oracle" in document
    with Image.open(runs / "simulation.png") as example:
        assert min(example.size) > 150
    assert (runs / "simulation.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 0.1, [10], 1), "target is 1.5"),
        ((0.1, 0.0, [10], 1), "delta is 0.0"),
        ((0.1, 0.1, [0], 1), r"--examples is 0: it must be a whole number of at least 1\."),
        ((0.1, 0.1, [10, -3], 1), r"--examples is -3: it must be a whole number of at least 1\."),
        ((0.1, 0.1, [10], 0), r"--draws is 0: it must be a whole number of at least 1\."),
    ],
)
def test_numbers_out_of_range_are_refused(runs: Path, arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(runs, *arguments)


def test_a_folder_without_finished_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.json"):
        simulate(tmp_path, 0.1, 0.1, [10], 1)
