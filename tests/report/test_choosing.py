"""A summary filtered, grouped, sorted and cut."""

from pathlib import Path
from typing import Any

import pytest

from neural_branching.errors import InputError
from neural_branching.report.choosing import Choice
from neural_branching.report.collect import Summary
from neural_branching.report.metrics import METRICS


def row(subset: str, stage: str, seed: int, accuracy: float, aurc: float | None) -> dict[str, Any]:
    numbers = dict.fromkeys((metric.name for metric in METRICS), 0.5)
    numbers |= {"test_accuracy": accuracy, "test_aurc": aurc, "path_macs": 1234567}
    settings = {"data": "d", "parent": "p", "branch": "b", "score": "s", "threshold": "fixed 0.5"}
    return {
        **{"run": f"{subset}_{stage}_{seed}", "subset": subset, "branch_point": stage, **settings},
        **{"parent_seed": 0, "branch_seed": seed, "counter": None, "number": None, "numbers": accuracy},
        **numbers,
        **{f"{name}_interval": (0.1, 0.9) if name == "test_accuracy" else None for name in numbers},
    }


@pytest.fixture
def summary() -> Summary:
    rows = [
        *(row("fish", "block1", seed, 0.6 + 0.1 * seed, 0.3) for seed in (0, 1)),
        row("fish", "block2", 0, 0.9, 0.1),
        row("flowers", "block1", 0, 0.5, None),
        row("flowers", "block2", 0, 0.8, 0.2),
    ]
    return Summary(Path("sweep"), "train", rows)


def test_settings_are_sorted_cut_and_filtered(summary: Summary) -> None:
    title, header, lines, numbers = Choice(sort="accuracy", top=2, columns=["aurc", "path_macs"]).table(
        summary
    )
    assert title == "2 of 4 settings, test examples, largest test_accuracy first"
    assert header[-3:] == ["runs", "AURC", "path macs"]
    assert numbers == 2
    assert [line[header.index("subset")] for line in lines] == ["fish", "flowers"]
    assert [line[-2:] for line in lines] == [["0.100", "1,234,567"], ["0.200", "1,234,567"]]
    _, header, lines, _ = Choice(sort="aurc").table(summary)  # less is better; what has none comes last
    points = [(line[header.index("subset")], line[header.index("branch point")]) for line in lines]
    assert points == [("fish", "block2"), ("flowers", "block2"), ("fish", "block1"), ("flowers", "block1")]
    title, _, lines, _ = Choice(where=["subset=fish", "branch_point=block1,block2"]).table(summary)
    assert (title, len(lines)) == ("2 settings, test examples", 2)


def test_lines_average_over_what_else_differs(summary: Summary) -> None:
    title, header, lines, _ = Choice(by=["branch_point"], columns=["accuracy"]).table(summary)
    assert title == "2 groups of settings, test examples"
    assert header == ["branch point", "runs", "accuracy"]
    assert lines == [["block1", "3", "0.600±0.100"], ["block2", "2", "0.850±0.071"]]


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (Choice(where=["subset=fisch"]), "--where subset is 'fisch', which is unknown: did you mean 'fish'"),
        (Choice(where=["subset"]), "write COLUMN=VALUE"),
        (Choice(where=["point=a"]), "--where is 'point', which is unknown"),
        (Choice(by=["branchpoint"]), "--by is 'branchpoint', which is unknown: did you mean 'branch_point'"),
        (Choice(sort="acuracy"), "--sort is 'acuracy', which is unknown"),
        (Choice(columns=["mac"]), "--columns is 'mac', which is unknown"),
        (Choice(top=0), "--top is 0: it must be a whole number of at least 1"),
    ],
)
def test_what_is_not_there_is_one_sentence(summary: Summary, choice: Choice, sentence: str) -> None:
    assert choice
    with pytest.raises(InputError, match=sentence):
        choice.table(summary)
    assert not Choice()
