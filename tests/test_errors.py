"""Checks of single values: what passes is returned, what does not is refused in one sentence."""

import math
import os

import pytest

from neural_branching.errors import (
    ArgumentError,
    InputError,
    each_of,
    number,
    one_of,
    printable,
    switch,
    whole,
)


def test_errors_are_value_errors_with_argument_and_problem() -> None:
    error = ArgumentError("lr", "is 0.")
    assert str(error) == "lr is 0."
    assert (error.argument, error.problem) == ("lr", "is 0.")
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)


def test_one_of_returns_the_value_or_names_the_nearest_and_all() -> None:
    assert one_of("adam", ["adam", "adamw"], "optimizer") == "adam"
    with pytest.raises(ArgumentError) as refused:
        one_of("hiden1", ["hidden1", "logits"], "stage")
    sentence = "stage is 'hiden1', which is unknown: did you mean 'hidden1'? allowed are hidden1, logits."
    assert str(refused.value) == sentence
    with pytest.raises(ArgumentError, match=r"^stage is 3, which is unknown: allowed are hidden1\.$"):
        one_of(3, ["hidden1"], "stage")


def test_each_of_returns_all_values_or_names_the_first_that_is_unknown() -> None:
    assert each_of(["b", "a"], ["a", "b"], "classes") == ["b", "a"]
    with pytest.raises(ArgumentError, match=r"^classes is 'c', which is unknown"):
        each_of(["b", "c", "d"], ["a", "b"], "classes")
    with pytest.raises(ArgumentError, match=r"^classes is \['a'\], which is unknown"):
        each_of([["a"]], ["a", "b"], "classes")


def test_names_that_are_no_utf8_can_be_printed() -> None:
    assert printable(os.fsdecode(b"caf\xe9/\xc3\xa9.png")) == "caf\\udce9/é.png"


def test_number_returns_floats_within_bounds() -> None:
    assert isinstance(number(1, "x", 0, 1), float)
    assert number(0, "x", 0, 1) == 0
    assert number(0.5, "x", 0, 1, open_low=True) == 0.5


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", True, None, [0.5]])
def test_number_refuses_what_is_outside_or_no_number(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"^x is .*: it must be a number within \[0, 1\]\.$"):
        number(value, "x", 0, 1)


def test_open_bounds_are_refused_and_written_with_round_brackets() -> None:
    with pytest.raises(ArgumentError, match=r"within \(0, inf\)"):
        number(0, "x", 0, math.inf, open_low=True)
    with pytest.raises(ArgumentError, match=r"within \[0, inf\)"):
        number(math.inf, "x", 0, math.inf)


def test_whole_returns_integers() -> None:
    assert whole(3, "n", 3) == 3


@pytest.mark.parametrize("value", [2, 3.0, "3", True, None])
def test_whole_refuses_everything_else(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"^n is .*: it must be a whole number of at least 3\.$"):
        whole(value, "n", 3)


def test_switch_returns_true_or_false() -> None:
    assert switch(True, "x") is True
    for value in ("true", 1, None):
        with pytest.raises(ArgumentError, match=r"^x is .*: it must be true or false\.$"):
            switch(value, "x")
