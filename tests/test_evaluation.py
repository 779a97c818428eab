"""The numbers of a run, recounted by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neural_branching.evaluation import ABSTAIN, HELD_OUT, Answers, evaluate
from neural_branching.selection import Coverage, Fixed, Risk, Threshold, aurc

CLASSES = ("cat", "dog", "owl")


def answers(seed: int, sharpness: float) -> dict[str, Answers]:
    """Random logits that lean towards the target, with unequal classes."""
    rng = np.random.default_rng(seed)
    result = {}
    for split, n in zip(HELD_OUT, (20, 40, 60), strict=True):
        targets = np.concatenate([np.arange(3), rng.choice(3, n - 3, p=[0.5, 0.3, 0.2])])
        logits = rng.normal(size=(n, 3)) + sharpness * np.eye(3)[targets]
        result[split] = Answers(rng.permutation(1000)[:n], targets, logits.astype(np.float32))
    return result


BRANCH, PARENT = answers(0, 1.5), answers(1, 1.0)


def numbers(rule: Threshold) -> dict:
    return evaluate(BRANCH, PARENT, rule, CLASSES).numbers


class Never:
    """A rule that certifies nothing."""

    kind, promise = "never", "answers nothing"

    def fit(self, score: object, error: object) -> float:
        return math.inf


def recount(mine: Answers, threshold: float) -> dict:
    """Counts image by image."""
    n = right = accepted = accepted_right = 0
    for logits, target in zip(mine.logits.astype(float), mine.targets, strict=True):
        probabilities = np.exp(logits) / np.exp(logits).sum()
        n += 1
        right += logits.argmax() == target
        accepted += probabilities.max() >= threshold
        accepted_right += logits.argmax() == target and probabilities.max() >= threshold
    return {
        "n": n,
        "accuracy": right / n,
        "n_accepted": accepted,
        "coverage": accepted / n,
        "selective_accuracy": accepted_right / accepted if accepted else math.nan,
    }


def only(mine: Answers, label: int) -> Answers:
    chosen = mine.targets == label
    return Answers(mine.rows[chosen], mine.targets[chosen], mine.logits[chosen])


@pytest.mark.parametrize("rule", [Fixed(0.6), Coverage(0.7), Risk(0.2)])
def test_every_split_and_class_is_recounted(rule: Threshold) -> None:
    result = numbers(rule)
    threshold = result["threshold"]["value"]
    for split in HELD_OUT:
        expected = recount(BRANCH[split], threshold)
        assert {name: result[split][name] for name in expected} == pytest.approx(expected)
        assert result[split]["aurc"] == aurc(BRANCH[split].score, BRANCH[split].error)
    for label, name in enumerate(CLASSES):
        expected = recount(only(BRANCH["test"], label), threshold)
        assert result["test"]["per_class"][name] == pytest.approx(expected)
    assert sum(entry["n"] for entry in result["test"]["per_class"].values()) == 60


def test_confusion_counts_every_image_once() -> None:
    result = numbers(Fixed(0.6))["test"]
    table = result["confusion"]
    assert table["rows"] == list(CLASSES)
    assert table["columns"] == [*CLASSES, ABSTAIN]
    expected = np.zeros((3, 4), dtype=int)
    mine = BRANCH["test"]
    for target, prediction, score in zip(mine.targets, mine.predictions, mine.score, strict=True):
        expected[target, prediction if score >= 0.6 else 3] += 1
    assert table["counts"] == expected.tolist()
    assert expected[:, 3].any()
    assert [sum(row) for row in table["counts"]] == [result["per_class"][name]["n"] for name in CLASSES]
    right = sum(table["counts"][label][label] for label in range(3))
    assert right / result["n_accepted"] == pytest.approx(result["selective_accuracy"])


def test_nothing_accepted_has_no_selective_accuracy() -> None:
    result = numbers(Never())
    assert result["threshold"]["value"] == math.inf
    assert result["threshold"]["reject_all"] is True
    for entry in (result["test"], *result["test"]["per_class"].values(), result["test"]["parent_restricted"]):
        assert entry["n_accepted"] == entry["coverage"] == 0
        assert math.isnan(entry["selective_accuracy"])
        assert not math.isnan(entry["accuracy"])
    assert np.array(result["test"]["confusion"]["counts"])[:, :3].sum() == 0
    assert numbers(Fixed(0.5))["threshold"]["reject_all"] is False


@pytest.mark.parametrize("rule", [Coverage(0.5), Risk(0.2)])
def test_branch_and_parent_each_fit_on_their_own_calibration_scores(rule: Threshold) -> None:
    result = numbers(rule)
    own, parents = (rule.fit(x["calibration"].score, x["calibration"].error) for x in (BRANCH, PARENT))
    assert own != parents
    assert result["threshold"]["value"] == own
    assert result["test"]["parent_restricted"]["threshold"] == parents
    expected = recount(PARENT["test"], parents)
    assert {name: result["test"]["parent_restricted"][name] for name in expected} == pytest.approx(
        expected, nan_ok=True
    )
    assert result["threshold"] | {"split": "calibration", "n": 40, "kind": rule.kind} == result["threshold"]


@pytest.mark.parametrize("rule", [Fixed(0.6), Coverage(0.5), Risk(0.2)])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_only_calibration_moves_the_threshold(rule: Threshold, split: str) -> None:
    poisoned = {
        **BRANCH,
        split: replace(BRANCH[split], targets=(BRANCH[split].targets + 1) % 3, logits=-BRANCH[split].logits),
    }
    before, after = evaluate(BRANCH, PARENT, rule, CLASSES), evaluate(poisoned, PARENT, rule, CLASSES)
    assert after.threshold == before.threshold
    assert after.numbers["calibration"] == before.numbers["calibration"]
    assert after.numbers[split] != before.numbers[split]
    if split == "test":
        assert after.numbers["validation"] == before.numbers["validation"]


def test_a_fixed_threshold_is_used_as_given() -> None:
    result = evaluate(BRANCH, PARENT, Fixed(0.6), CLASSES)
    assert result.threshold == 0.6
    assert result.numbers["threshold"]["value"] == 0.6
    assert result.numbers["test"]["parent_restricted"]["threshold"] == 0.6


def test_validation_loss_is_the_cross_entropy() -> None:
    mine = BRANCH["validation"]
    expected = F.cross_entropy(torch.from_numpy(mine.logits).double(), torch.from_numpy(mine.targets))
    assert numbers(Fixed(0.6))["validation"]["loss"] == pytest.approx(float(expected))


def test_a_class_that_is_always_right_reads_so() -> None:
    mine = BRANCH["test"]
    logits = np.zeros((60, 3), dtype=np.float32)
    logits[:, 2] = 1  # everything is called an owl, except the dogs, which are known
    logits[mine.targets == 1] = [0, 9, 0]
    branch = {**BRANCH, "test": replace(mine, logits=logits)}
    result = evaluate(branch, PARENT, Fixed(0.0), CLASSES).numbers["test"]
    assert [result["per_class"][name]["accuracy"] for name in CLASSES] == [0, 1, 1]
    counts = [result["per_class"][name]["n"] for name in CLASSES]
    assert result["confusion"]["counts"] == [[0, 0, counts[0], 0], [0, counts[1], 0, 0], [0, 0, counts[2], 0]]
