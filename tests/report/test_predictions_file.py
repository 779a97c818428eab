"""Predictions are read back as they were written, or refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from neural_branching.errors import InputError
from neural_branching.pipeline import Run
from neural_branching.report.predictions_file import Predictions, read_predictions
from sweeps import only

HEADER = "row,split,fits,label,prediction,score,accepted,parent_prediction,parent_score"


def damaged(folder: Path, text: str) -> Path:
    (folder / "predictions.csv").write_text(text)
    return folder


@pytest.fixture(scope="module")
def predictions(run: Run, folder: Path) -> Predictions:
    return read_predictions(folder, run.experiment.tree.classes)


@pytest.mark.parametrize("split", ["validation", "calibration", "test"])
def test_the_subsets_images_come_back_bit_for_bit(split: str, predictions: Predictions, run: Run) -> None:
    mine, branch = predictions.of(split), only(run).thresholds[0].branch
    answers = branch.answers.known[split]
    assert mine.row.tolist() == answers.rows.tolist()
    assert mine.error.tolist() == answers.error.tolist()
    assert mine.score.tobytes() == branch.known[split].tobytes()
    assert set(mine.split) == {split}
    assert not mine.foreign.any()


@pytest.mark.parametrize("split", ["calibration", "test"])
def test_foreign_images_come_back_as_errors(split: str, predictions: Predictions, run: Run) -> None:
    mine, branch = predictions.of(split, foreign=True), only(run).thresholds[0].branch
    assert len(mine) == len(branch.foreign[split]) > 0
    assert mine.row.tolist() == branch.answers.foreign[split].rows.tolist()
    assert mine.score.tobytes() == branch.foreign[split].tobytes()
    assert mine.error.all()
    assert mine.foreign.all()


def test_every_held_out_image_is_there_once(predictions: Predictions, run: Run) -> None:
    held_out = np.concatenate([run.table.rows(split) for split in ("calibration", "test")])
    validation = run.table.rows("validation", run.experiment.tree.classes)
    assert sorted(predictions.row) == sorted([*held_out, *validation])
    assert len(predictions) == len(predictions.row)


def test_images_are_chosen_by_what_they_fitted(predictions: Predictions) -> None:
    calibration = predictions.of("calibration")
    assert len(predictions.of("calibration", fits="threshold")) == len(calibration) == 120
    assert len(predictions.of("calibration", fits="score")) == 0
    assert len(predictions.of("test", fits="")) == len(predictions.of("test")) == 60
    assert len(predictions.of("calibration", foreign=True, fits="")) == 80


def test_some_of_the_images_keep_their_columns_together(predictions: Predictions) -> None:
    chosen = np.array([5, 3])
    some = predictions[chosen]
    assert len(some) == 2
    for name in ("row", "split", "fits", "foreign", "error", "score"):
        assert getattr(some, name).tolist() == getattr(predictions, name)[chosen].tolist()


def test_a_small_file_is_read_line_by_line(tmp_path: Path) -> None:
    lines = (
        "7,validation,,cat,cat,0.5,1,cat,0.4",
        "9,calibration,score,cat,dog,-1.25,0,cat,0.4",
        "8,calibration,threshold,dog,dog,1e-300,0,cat,0.4",
        "2,test,,owl,dog,3,1,cat,0.4",
    )
    mine = read_predictions(damaged(tmp_path, "\n".join((HEADER, *lines)) + "\n"), ["cat", "dog"])
    assert mine.row.tolist() == [7, 9, 8, 2]
    assert mine.split.tolist() == ["validation", "calibration", "calibration", "test"]
    assert mine.fits.tolist() == ["", "score", "threshold", ""]
    assert mine.foreign.tolist() == [False, False, False, True]
    assert mine.error.tolist() == [False, True, False, True]
    assert mine.score.tolist() == [0.5, -1.25, 1e-300, 3.0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "damaged",
        HEADER + "\n",
        HEADER + "\n7,validation,,cat,cat,0.5,1,cat,0.4\n9,test,,ca",
        HEADER + "\n7.5,validation,,cat,cat,0.5,1,cat,0.4\n",
        HEADER + "\n7,validation,,cat,cat,high,1,cat,0.4\n",
        HEADER + "\n7,validation,,cat,cat,nan,1,cat,0.4\n",
        HEADER + "\n7,validation,,cat,cat,-inf,1,cat,0.4\n",
        HEADER + "\n" + "7" * 200_000,
        HEADER.replace("fits,", "") + "\n7,validation,cat,cat,0.5,1,cat,0.4\n",
    ],
    ids=["empty", "text", "no lines", "torn", "row", "score", "nan", "inf", "endless", "column"],
)
def test_a_damaged_file_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_predictions(damaged(tmp_path, text), ["cat", "dog"])
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "predictions.csv"))
    assert message.endswith(": repeat the run that made it.")
    assert "\n" not in message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_bytes(b"\xff\xfe\x00PNG")
    with pytest.raises(InputError, match="repeat the run"):
        read_predictions(tmp_path, ["cat"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"predictions\.csv cannot be read \(FileNotFoundError\)"):
        read_predictions(tmp_path, ["cat"])
