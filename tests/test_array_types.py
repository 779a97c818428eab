"""Arrays are what annotations say: tests check that, and production takes no time for it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

import array_checks
from neural_branching.evaluation.outcomes import outcome
from neural_branching.networks.vit import FirstToken
from neural_branching.routing.node_outputs import probabilities
from neural_branching.selection.answers import Answers
from neural_branching.selection.scores.formulas import softmax
from neural_branching.selection.scores.learned import fit_temperature


def test_a_wrong_number_of_axes_is_refused_of_arrays_and_tensors() -> None:
    for function in (softmax, probabilities):
        for wrong in (np.zeros(3), torch.zeros(3)):
            with pytest.raises(TypeCheckError, match="logits"):
                function(wrong)
            array_checks.counted.clear()
    with pytest.raises(TypeCheckError, match="'x'"):
        FirstToken(4)(torch.zeros(2, 4))


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="targets"):
        fit_temperature(np.zeros((2, 3)), np.zeros(2))


def test_axes_of_one_name_have_one_size() -> None:
    rows, vectors = np.arange(2), np.zeros((2, 4), np.float32)
    assert len(Answers(rows, rows, np.zeros((2, 3), np.float32), vectors)) == 2
    with pytest.raises(TypeCheckError, match="logits"):
        Answers(rows, rows, np.zeros((5, 3), np.float32), vectors)
    with pytest.raises(TypeCheckError, match="targets"):
        outcome(np.zeros((5, 3), np.float32), rows)


def test_the_first_calls_in_a_test_are_checked() -> None:
    for _ in range(array_checks.CALLS):
        with pytest.raises(TypeCheckError):
            softmax(np.zeros((1, 2, 3)))
    softmax(np.zeros((1, 2, 3)))


def test_nothing_is_checked_outside_tests() -> None:
    lines = [
        "import sys, numpy as np",
        "from neural_branching.selection.answers import Answers",
        "assert not {'jaxtyping', 'beartype'} & sys.modules.keys()",
        "assert Answers.__annotations__['logits'] is np.ndarray",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
