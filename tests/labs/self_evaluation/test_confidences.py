"""Confidences, grading and ratings against closed forms and brute force."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neural_branching.labs.self_evaluation.confidences import joined, own_confidences, pair, prior
from neural_branching.labs.self_evaluation.generation_spec import GenerationSpec
from neural_branching.labs.self_evaluation.grading import accepts
from neural_branching.labs.self_evaluation.parent_answers import ParentAnswers, agreeing
from neural_branching.labs.self_evaluation.rating import Rater
from neural_branching.networks.generation import Generated
from neural_branching.selection.thresholds.plain import Coverage
from neural_branching.selection.thresholds.random_walk import RandomWalk


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("France", ["France"], True),
        (" france. ", ["France"], True),
        ("The Netherlands", ["Netherlands"], True),
        ("Cote d'Ivoire", ["Côte d'Ivoire"], True),
        ("Guinea-Bissau", ["Guinea"], False),
        ("Россия", ["россия"], True),
        ("", ["France"], False),
        ("...", ["?"], False),
        ("Niger", ["Nigeria", "Federal Republic of Nigeria"], False),
    ],
)
def test_an_answer_is_right_if_it_equals_an_accepted_one(
    answer: str, accepted: list[str], right: bool
) -> None:
    assert accepts(answer, accepted) is right


def test_a_prompt_has_its_examples_in_front_and_ends_where_an_answer_begins() -> None:
    how = GenerationSpec.of({"shots": [["a?", "b"]], "tokens": 3, "branch_after": "answer"})
    assert how.prompt("c?") == "Q: a?\nA: b\n\nQ: c?\nA:"
    assert how.seen("c?", "d") == "Q: a?\nA: b\n\nQ: c?\nA: d"
    assert how.seen("c?", "") == how.prompt("c?")
    before = GenerationSpec.of({"shots": [], "tokens": 3, "branch_after": "question"})
    assert before.seen("c?", "d") == "Q: c?\nA:"


def test_a_prior_is_how_often_an_answer_was_right() -> None:
    answers, right = np.array([0, 0, 0, 1, 1, 2]), np.array([True, True, False, False, True, True])
    learned = np.arange(4)  # mean ½; answer 2 was never given
    expected = [(2 + 1) / 5] * 3 + [(0 + 1) / 3] * 2 + [1 / 2]
    assert prior(answers, right, learned).tolist() == pytest.approx(expected)


def test_own_confidences_are_of_the_logits() -> None:
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(size=(60, 3)), generator.integers(0, 3, 60)
    answers = ParentAnswers.of_logits(logits, logits.argmax(1) == targets, targets)
    found = own_confidences(answers, {"train": np.arange(40)})
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found["max softmax"], np.log(p.max(1) / (1 - p.max(1))))
    ordered = np.sort(p, 1)
    np.testing.assert_allclose(answers.features["margin"], ordered[:, -1] - ordered[:, -2])
    np.testing.assert_allclose(answers.features["entropy"], -(p * np.log(p)).sum(1))
    assert ((found["temperature"] > 0) & (found["temperature"] <= 1)).all()


def test_written_answers_have_the_probability_of_all_their_tokens() -> None:
    written = [
        Generated("a b", (-1.0, -2.0, -0.5), (0.1, 0.2, 0.3), (3.0, 2.0, 1.0)),
        Generated("c", (-0.25, -0.25), (0.5, 0.5), (1.0, 1.0)),
    ]
    answers = ParentAnswers.of_texts(written, np.array([True, False]))
    assert answers.own.tolist() == [-3.5, -0.5]
    assert answers.features["least of a token"].tolist() == [-2.0, -0.25]
    assert answers.features["margin of the first"].tolist() == [3.0, 1.0]
    assert answers.answers.tolist() == [0, 1]


def test_a_readout_agrees_where_its_label_is_the_parents() -> None:
    readout, final = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]]), np.array([[1.0, 0], [1.0, 0], [0, 1.0]])
    assert agreeing(readout, final).right.tolist() == [True, False, False]
    assert agreeing(readout, final).targets.tolist() == [0, 0, 1]


def test_both_are_learned_from_validation_alone() -> None:
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(size=(80, 3)), generator.integers(0, 3, 80)
    rows = {"train": np.arange(40), "validation": np.arange(40, 60)}
    right = logits.argmax(1) == targets
    branch, own = generator.normal(size=80), logits.max(1)
    first = joined(branch, own, right, rows)
    other = right.copy()
    other[:40] = ~other[:40]
    other[60:] = ~other[60:]
    assert first == joined(branch, own, other, rows)
    some = rows["validation"]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    expected = model.fit(np.column_stack([branch, own])[some], right[some])
    inputs = pair(branch, own)
    np.testing.assert_allclose(first(inputs), expected.decision_function(inputs))
    np.testing.assert_allclose(first(torch.from_numpy(inputs)).numpy(), first(inputs))


def test_ratings_count_groups_where_there_are_any() -> None:
    generator = np.random.default_rng(0)
    n = 600
    groups = np.repeat(np.arange(n // 5), 5)
    wrong = generator.random(n) < 0.3
    score = np.where(wrong, -1.0, 1.0) + generator.normal(size=n)
    rows = {
        "validation": np.arange(100),
        "calibration": np.arange(100, 400),
        "test": np.arange(400, 600),
    }
    alone = Rater(wrong, rows, None, RandomWalk(0.2, 0.1)).rate({"own": score, "same": score}, "own")
    grouped = Rater(wrong, rows, groups, RandomWalk(0.2, 0.1)).rate({"own": score}, "own")
    assert alone["own"]["n_calibration"] == 300
    assert grouped["own"]["n_calibration"] == 60
    assert alone["own"]["failure_auroc"] == grouped["own"]["failure_auroc"]
    test = rows["test"]
    beats = score[test][~wrong[test]][:, None] > score[test][wrong[test]][None]
    assert alone["own"]["failure_auroc"] == pytest.approx(float(beats.mean()))
    assert alone["same"]["difference"]["failure_auroc"] == {"value": 0.0, "interval": (0.0, 0.0)}
    assert alone["own"]["certificate"]["target"] == 0.2
    covered = Rater(wrong, rows, groups, Coverage(0.5)).rate({"own": score}, "own")["own"]
    assert covered["certificate"] is None
    assert covered["shortage"] is None
