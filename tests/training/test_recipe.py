"""A training recipe refuses what it cannot mean."""

import math

import pytest

from neural_branching.errors import ArgumentError
from neural_branching.training.recipe import Recipe

BASE = {"epochs": 3, "batch_size": 8, "lr": 0.1}


def test_defaults_are_plain_values_that_can_enter_a_key() -> None:
    recipe = vars(Recipe(**BASE))
    assert recipe == {
        **BASE,
        "optimizer": "adam",
        "weight_decay": 0.0,
        "schedule": "constant",
        "pct_start": 0.25,
        "label_smoothing": 0.0,
        "keep": "best",
        "monitor": "val/loss",
        "patience": None,
        "precision": "32-true",
        "matmul_precision": "highest",
    }


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("epochs", [0, -1, 2.5, True, "3", None]),
        ("batch_size", [0, 1.0, None]),
        ("lr", [0, -1e-3, math.nan, "fast", True, None]),
        ("optimizer", ["sgd", "Adam", None]),
        ("weight_decay", [-1e-9, math.nan, "none"]),
        ("schedule", ["cosine", None]),
        ("pct_start", [-0.1, 1.0, 1.1, math.nan]),
        ("label_smoothing", [-0.1, 1.1]),
        ("keep", ["first", True]),
        ("monitor", ["val_loss", "test/accuracy"]),
        ("patience", [0, -1, 1.5, True]),
        ("precision", ["16-mixed", 32]),
        ("matmul_precision", ["low", None]),
    ],
)
def test_bad_values_are_refused_by_name(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(ArgumentError) as caught:
            Recipe(**{**BASE, name: value})  # type: ignore[arg-type]
        assert caught.value.argument == name, value
        assert repr(value) in str(caught.value)


def test_early_stopping_needs_the_best_weights() -> None:
    with pytest.raises(ArgumentError, match="patience is 3 while keep is 'last'"):
        Recipe(**BASE, keep="last", patience=3)
    assert Recipe(**BASE, keep="best", patience=3).patience == 3


def test_close_names_are_suggested() -> None:
    with pytest.raises(ArgumentError, match=r"did you mean 'one_cycle'\? allowed are constant, one_cycle"):
        Recipe(**BASE, schedule="onecycle")
