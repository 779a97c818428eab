"""What a branch is judged by: every number recounted by hand, and no test label that chooses anything."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import kstest
from sklearn.metrics import log_loss, roc_auc_score
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from neural_branching.config.build import build, conf_dir
from neural_branching.errors import InputError
from neural_branching.evaluation import selective
from neural_branching.evaluation import threshold_free as examination_module
from neural_branching.evaluation.acceptance import every_second
from neural_branching.evaluation.foreign import Foreign, foreign_numbers, left_out, scod_curve
from neural_branching.evaluation.node_evaluation import NodeEvaluation, evaluate_node
from neural_branching.evaluation.operating_points import COVERAGES, PROBABILITIES, OperatingPoint
from neural_branching.evaluation.reliability import (
    bins_of,
    equal_mass_error,
    equal_width_error,
    if_calibrated,
    reliability,
)
from neural_branching.evaluation.scored_node import NodeAnswers, ThresholdedNode, score_node
from neural_branching.evaluation.selective import ABSTAIN, OTHERS, acceptance_intervals, confusion
from neural_branching.evaluation.threshold_free import ThresholdFree, evaluate_threshold_free
from neural_branching.selection import (
    Answers,
    Bootstrap,
    augrc,
    aurc,
    bootstrap_interval,
    risk_coverage_curve,
)
from neural_branching.selection.area_intervals import area_intervals, failure_auroc_interval
from neural_branching.selection.intervals import percentile_interval, proportion_interval
from neural_branching.selection.scores.from_activations import Mahalanobis
from neural_branching.selection.scores.from_logits import MaxLogit, MaxSoftmax, NegativeEntropy, softmax
from neural_branching.selection.scores.learned import Correctness, Temperature
from neural_branching.selection.scores.score import Score, Scorer
from neural_branching.selection.thresholds.guaranteed import FixedSequence, Sgr
from neural_branching.selection.thresholds.on_average import Conformal, FalseAccept
from neural_branching.selection.thresholds.plain import Coverage, Fixed, Risk
from neural_branching.selection.thresholds.threshold import Threshold

CLASSES = ("cat", "dog", "owl")
KNOWN = ("bus", "cat", "fox", "dog", "owl", "elk")
SUPERCLASSES = {"hunters": ["cat", "fox", "owl"], "grazers": ["elk"], "pets": ["dog"]}
FOREIGN = Foreign.of(CLASSES, KNOWN, SUPERCLASSES)
NO_FOREIGN = Foreign.of(CLASSES, CLASSES, SUPERCLASSES)
SPLITS = ("validation", "calibration", "test")
KNOWN_SIZES = {"train": 61, "validation": 23, "calibration": 121, "test": 64}
FOREIGN_SIZES = {"calibration": 31, "test": 38}


def answers_to(targets: np.ndarray, rows: np.ndarray, rng: np.random.Generator, sharpness: float) -> Answers:
    """Logits in steps of a half, so that scores tie, and apart by class, so that no two classes do."""
    lean = np.where(targets[:, None] == np.arange(3), sharpness, 0)
    logits = np.round(2 * (rng.normal(size=(len(rows), 3)) + lean)) / 2 + 0.125 * np.arange(3)
    activations = rng.normal(size=(len(rows), 4)) + 2 * np.eye(6, 4)[targets]
    return Answers(rows, targets, logits.astype(np.float32), activations.astype(np.float32))


def material(seed: int, sharpness: float) -> NodeAnswers:
    """A model's answers to the same examples for every seed: three classes, three foreign ones, unequal."""
    examples, rng = np.random.default_rng(0), np.random.default_rng(seed)
    rows = examples.permutation(1000)
    result = NodeAnswers({}, {})
    for side, sizes in ((result.known, KNOWN_SIZES), (result.foreign, FOREIGN_SIZES)):
        for split, n in sizes.items():
            labels = np.concatenate([np.arange(3), examples.choice(3, n - 3, p=[0.5, 0.3, 0.2])])
            targets = labels if side is result.known else -1 - labels
            side[split] = answers_to(targets, rows[:n], rng, sharpness)
            rows = rows[n:]
    return result


BRANCH, PARENT = material(2, 1.5), material(3, 1.2)
PAIRS: dict[str, tuple[Score, Threshold]] = {
    "max_softmax at a fixed threshold": (MaxSoftmax(), Fixed(0.6)),
    "max_logit at a coverage": (MaxLogit(), Coverage(0.7)),
    "temperature with a certificate": (Temperature(), FixedSequence(0.36, 0.2)),
    "correctness within a risk": (Correctness(), Risk(0.12)),
    "mahalanobis with a limit for foreign examples": (Mahalanobis(), FalseAccept(0.3)),
    "max_softmax that refuses everything": (MaxSoftmax(), Sgr(0.001)),
}
every_pair = pytest.mark.parametrize("pair", PAIRS)


@dataclass(frozen=True)
class Evaluation:
    """A branch under one threshold."""

    whole: NodeEvaluation

    @property
    def numbers(self) -> dict[str, Any]:
        """All that results.json says of it."""
        return {**self.whole.threshold_free.numbers(), **self.whole.thresholds[0].numbers}

    @property
    def branch(self) -> ThresholdedNode:
        return self.whole.thresholds[0].branch

    @property
    def parent(self) -> ThresholdedNode | None:
        return self.whole.thresholds[0].parent

    @property
    def points(self) -> Sequence[OperatingPoint]:
        return self.whole.operating_points


def evaluate(threshold_free: ThresholdFree, rule: Threshold) -> Evaluation:
    return Evaluation(evaluate_node(threshold_free, [rule]))


@cache
def evaluated(pair: str) -> Evaluation:
    return of(*PAIRS[pair])


def of(
    score: Score, rule: Threshold, branch: NodeAnswers = BRANCH, parent: NodeAnswers = PARENT
) -> Evaluation:
    return evaluate(evaluate_threshold_free(branch, parent, score, CLASSES, FOREIGN), rule)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination_module, "Bootstrap", partial(Bootstrap, resamples=20))


quick = pytest.mark.usefixtures("few_resamples")


# Every number, example by example.


def recount(scores: Sequence[float], errors: Sequence[bool], threshold: float) -> dict[str, Any]:
    n, wrong = len(scores), sum(map(int, errors))
    answered = [int(error) for score, error in zip(scores, errors, strict=True) if score >= threshold]
    points = []
    for value in sorted(set(scores)):
        kept = [int(error) for score, error in zip(scores, errors, strict=True) if score >= value]
        points.append((Fraction(len(kept), n), Fraction(sum(kept), len(kept)), Fraction(sum(kept), n)))

    def area(corners: list[tuple[Fraction, Fraction]]) -> float:
        return float(sum((c - d) * (h + g) / 2 for (c, h), (d, g) in pairwise(corners)))

    def order(right: float, other: float) -> float:
        return float(right > other) + (right == other) / 2

    orders = [order(scores[i], scores[j]) for i in range(n) for j in range(n) if not errors[i] and errors[j]]
    under_risk = area([*((c, risk) for c, risk, _ in points), (Fraction(), points[-1][1])])
    right = 1 - wrong / n
    return {
        "n": n,
        "accuracy": right,
        "n_accepted": len(answered),
        "coverage": len(answered) / n,
        "selective_accuracy": 1 - sum(answered) / len(answered) if answered else math.nan,
        "aurc": under_risk,
        "e_aurc": under_risk - (1 - right) - (right * math.log(right) if right else 0),
        "augrc": area([*((c, risk) for c, _, risk in points), (Fraction(), Fraction())]),
        "failure_auroc": sum(orders) / len(orders) if orders else math.nan,
    }


def wrong(answers: Answers) -> list[bool]:
    """Whether the largest logit is another class's, example by example."""
    pairs = zip(answers.logits.tolist(), answers.targets.tolist(), strict=True)
    return [logits.index(max(logits)) != target for logits, target in pairs]


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9, nan_ok=True)


@every_pair
@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_recounted(pair: str, split: str) -> None:
    result = evaluated(pair)
    examples = result.branch.fitted_on if split == "calibration" else np.ones(KNOWN_SIZES[split], dtype=bool)
    scores = result.branch.known[split][examples].tolist()
    errors = wrong(BRANCH.known[split][examples])
    assert same(result.numbers[split], recount(scores, errors, result.numbers["threshold"]["value"]))
    if split == "test" and not pair.startswith("mahalanobis"):
        assert len(set(scores)) < len(scores)  # ties are put to the test


@every_pair
def test_the_restricted_parent_is_recounted_at_a_threshold_of_its_own(pair: str) -> None:
    result, (score, rule) = evaluated(pair), PAIRS[pair]
    mine, restricted = (
        score_node(PARENT, score).with_threshold(rule),
        result.numbers["test"]["parent_restricted"],
    )
    assert restricted["threshold"] == mine.choice.value
    assert same(
        restricted, recount(mine.known["test"].tolist(), wrong(PARENT.known["test"]), mine.choice.value)
    )
    alike = isinstance(rule, Fixed) or rule == PAIRS["max_softmax that refuses everything"][1]
    assert (restricted["threshold"] == result.numbers["threshold"]["value"]) == alike


@every_pair
def test_every_class_is_recounted(pair: str) -> None:
    result = evaluated(pair)
    table, test = result.numbers["test"]["per_class"], BRANCH.known["test"]
    assert list(table) == list(CLASSES)
    for label, name in enumerate(CLASSES):
        mine = test.targets == label
        scores = result.branch.known["test"][mine].tolist()
        expected = recount(scores, wrong(test[mine]), result.numbers["threshold"]["value"])
        shown = dict(table[name])
        intervals = shown.pop("intervals")
        assert set(shown) == {"n", "accuracy", "n_accepted", "coverage", "selective_accuracy"}
        assert same(expected, shown)
        assert set(intervals) == {"accuracy", "coverage", "selective_accuracy"}
        assert all(low <= shown[key] <= high for key, (low, high) in intervals.items() if low == low)
    assert sum(entry["n"] for entry in table.values()) == 64
    assert len({entry["n"] for entry in table.values()}) == 3


@every_pair
def test_confusion_counts_every_image_once(pair: str) -> None:
    result = evaluated(pair)
    numbers, test = result.numbers["test"], BRANCH.known["test"]
    table = numbers["confusion"]
    assert table["rows"] == list(CLASSES)
    assert table["columns"] == [*CLASSES, ABSTAIN]
    expected = [[0] * 4 for _ in CLASSES]
    for target, logits, score in zip(test.targets, test.logits, result.branch.known["test"], strict=True):
        answer = int(np.argmax(logits)) if score >= result.numbers["threshold"]["value"] else 3
        expected[target][answer] += 1
    assert table["counts"] == expected
    assert [sum(row) for row in expected] == [numbers["per_class"][name]["n"] for name in CLASSES]
    right = sum(expected[label][label] for label in range(3))
    if numbers["n_accepted"]:
        assert right / numbers["n_accepted"] == pytest.approx(numbers["selective_accuracy"])


def test_a_confusion_matrix_of_many_classes_shows_those_that_go_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selective, "MOST", 3)
    monkeypatch.setattr(selective, "SHOWN", 2)
    targets = np.array([0, 0, 1, 1, 1, 2, 3, 3])
    predictions = np.array([0, 0, 3, 0, 1, 2, 1, 3])
    answers = Answers(np.arange(8), targets, np.eye(4, dtype=np.float32)[predictions], np.empty((8, 0)))
    score = np.array([1.0, 1, 1, 1, 0, 1, 1, 1])
    assert confusion(answers, score, 0.5, "abcd") == {
        "rows": ["b", "d"],
        "columns": ["b", "d", OTHERS, ABSTAIN],
        "counts": [[0, 1, 1, 1], [1, 1, 0, 0]],
    }


def test_validation_loss_is_the_cross_entropy() -> None:
    mine = BRANCH.known["validation"]
    expected = F.cross_entropy(torch.from_numpy(mine.logits).double(), torch.from_numpy(mine.targets))
    for pair in PAIRS:
        assert evaluated(pair).numbers["validation"]["loss"] == pytest.approx(float(expected))


def test_a_class_that_is_always_right_reads_so() -> None:
    test = BRANCH.known["test"]
    logits = np.zeros((64, 3), dtype=np.float32)
    logits[:, 2] = 1  # everything is called an owl, except the dogs, which are known
    logits[test.targets == 1] = [0, 9, 0]
    branch = NodeAnswers({**BRANCH.known, "test": replace(test, logits=logits)}, BRANCH.foreign)
    result = of(MaxSoftmax(), Fixed(0.0), branch).numbers["test"]
    assert [result["per_class"][name]["accuracy"] for name in CLASSES] == [0, 1, 1]
    counts = [result["per_class"][name]["n"] for name in CLASSES]
    assert result["confusion"]["counts"] == [[0, 0, counts[0], 0], [0, counts[1], 0, 0], [0, 0, counts[2], 0]]


def test_nothing_accepted_has_no_selective_accuracy() -> None:
    numbers = evaluated("max_softmax that refuses everything").numbers
    assert numbers["threshold"]["value"] == math.inf
    assert numbers["threshold"]["reject_all"] is True
    test = numbers["test"]
    for entry in (test, *test["per_class"].values(), test["parent_restricted"], numbers["calibration"]):
        assert entry["n_accepted"] == entry["coverage"] == 0
        assert math.isnan(entry["selective_accuracy"])
        assert not math.isnan(entry["accuracy"])
    assert np.array(test["confusion"]["counts"])[:, :3].sum() == 0
    # No example of 64 answered: a few of many might be.
    assert test["intervals"]["coverage"] == proportion_interval(0, 64)
    assert np.isnan(test["intervals"]["selective_accuracy"]).all()
    assert numbers["foreign"]["false_accept_rate"] == numbers["foreign"]["n_accepted"] == 0
    assert evaluated("max_softmax at a fixed threshold").numbers["threshold"]["reject_all"] is False


@every_pair
def test_the_score_and_threshold_blocks_say_what_was_fitted(pair: str) -> None:
    result, (score, rule) = evaluated(pair), PAIRS[pair]
    choice = rule.fit(result.branch.held_out)
    assert result.numbers["score"] == {
        "kind": score.kind,
        "name": str(score),
        "bounds": list(score.bounds),
        "learns_from": score.learns_from,
        "learned": result.branch.scorer.learned,
    }
    block = result.numbers["threshold"]
    assert block["value"] == choice.value
    assert block["n"] == choice.n
    assert block["kind"] == rule.kind
    assert block["rule"] == str(rule)
    assert block["promise"] == rule.promise
    assert block["guarantee"] == rule.guarantee
    assert block["settings"] == vars(rule)
    assert block["split"] == (None if rule.kind == "fixed" else "calibration")
    assert block["examples"] == ("foreign" if rule.kind == "false_accept" else "known")
    assert block["certificate"] == (choice.certificate and asdict(choice.certificate))
    assert block["shortage"] == (choice.shortage and asdict(choice.shortage))
    assert (block["shortage"] is None) == (choice.value < math.inf)
    assert (block["certificate"] is None) == (rule.guarantee == "none" or choice.value == math.inf)


@every_pair
def test_numbers_are_plain_and_the_same_every_time(pair: str) -> None:
    result = evaluated(pair)
    again = of(*PAIRS[pair])
    assert json.dumps(result.numbers) == json.dumps(again.numbers)
    np.testing.assert_equal([asdict(one) for one in again.points], [asdict(one) for one in result.points])


# Intervals.


@pytest.mark.parametrize("pair", [name for name in PAIRS if "everything" not in name])
def test_intervals_hold_the_number_itself(pair: str) -> None:
    numbers = evaluated(pair).numbers
    for block in (numbers["test"], numbers["test"]["parent_restricted"], numbers["foreign"]):
        for name, (low, high) in block["intervals"].items():
            assert low < block[name] < high, name
    for block in (numbers["reliability"]["before"], numbers["reliability"]["after"]):
        for name, (low, high) in block["intervals"].items():
            assert low < block[name] < high, name


def test_intervals_are_those_of_the_plain_functions() -> None:
    result = evaluated("correctness within a risk")
    threshold = result.numbers["threshold"]["value"]
    scores, errors = result.branch.known["test"], BRANCH.known["test"].error
    accepted = scores >= threshold
    expected = {
        "accuracy": proportion_interval(int((~errors).sum()), 64),
        "coverage": proportion_interval(int(accepted.sum()), 64),
        "selective_accuracy": proportion_interval(int((accepted & ~errors).sum()), int(accepted.sum())),
        **area_intervals(risk_coverage_curve(scores, errors)),
    }
    assert result.numbers["test"]["intervals"] == expected


def test_proportions_of_all_or_none_have_an_interval() -> None:
    scores, errors = np.linspace(0.1, 0.9, 50), np.zeros(50, dtype=bool)
    accepted = int((scores >= 0.5).sum())
    everything, found, nothing = acceptance_intervals(scores, errors, [0.0, 0.5, 1.0])
    for intervals, n in ((everything, 50), (found, accepted)):
        assert set(intervals) == {"coverage", "selective_accuracy"}
        # Three quarters of the probability of what was seen: ¾·pⁿ is 2.5 % at the lower end.
        assert intervals["selective_accuracy"] == (pytest.approx((0.025 / 0.75) ** (1 / n)), 1)
    assert everything["coverage"] == (pytest.approx((0.025 / 0.75) ** (1 / 50)), 1)
    assert 0 < found["coverage"][0] < found["coverage"][1] < 1
    assert nothing["coverage"] == (0, pytest.approx(1 - (0.025 / 0.75) ** (1 / 50)))
    assert np.isnan(nothing["selective_accuracy"]).all()


def test_foreign_intervals_resample_both_sides_apart() -> None:
    result = evaluated("temperature with a certificate")
    own, others = result.branch.known["test"], result.branch.foreign["test"]
    error, threshold = BRANCH.known["test"].error, result.numbers["threshold"]["value"]
    names = ("fpr95", "scod_aurc", "scod_augrc")
    values: dict[str, list[float]] = {name: [] for name in names}
    draws = zip(Bootstrap(64).draws(), Bootstrap(38, seed=1).draws(), strict=True)
    for mine, theirs in draws:
        expected = foreign_numbers(own[mine], error[mine], others[theirs], threshold)
        for name, found in values.items():
            found.append(expected[name])
    intervals = result.numbers["foreign"]["intervals"]
    assert set(intervals) == {*values, "auroc", "false_accept_rate"}
    for name, found in values.items():
        assert intervals[name] == pytest.approx(percentile_interval(found), rel=1e-12), name
    assert intervals["false_accept_rate"] == proportion_interval(int((others >= threshold).sum()), 38)
    both = risk_coverage_curve(np.concatenate([own, others]), np.repeat([0, 1], [64, 38]))
    assert intervals["auroc"] == failure_auroc_interval(both)


# What a score learns from.


class Spy(MaxSoftmax):
    """Remembers what it was given to learn from."""

    def __init__(self, learns_from: str | None) -> None:
        self.learns_from = learns_from  # type: ignore[assignment, misc]
        self.given: list[Answers | None] = []

    def fit(self, answers: Answers | None) -> Scorer:
        self.given.append(answers)
        return super().fit(answers)


def test_a_score_is_given_the_split_that_it_learns_from() -> None:
    for split, expected in (("train", BRANCH.known["train"]), (None, None)):
        spy = Spy(split)
        mine = score_node(BRANCH, spy).with_threshold(Coverage(0.5))
        assert len(spy.given) == 1
        assert spy.given[0] is expected
        assert mine.fitted_on.all()
        assert set(mine.known) == set(SPLITS)
    spy = Spy("calibration")
    mine = score_node(BRANCH, spy).with_threshold(Coverage(0.5))
    [given] = spy.given
    assert given is not None
    calibration = BRANCH.known["calibration"]
    assert set(given.rows) | set(calibration.rows[mine.fitted_on]) == set(calibration.rows)
    assert not set(given.rows) & set(calibration.rows[mine.fitted_on])


@pytest.mark.parametrize("score", [Temperature(), Correctness()])
def test_score_and_threshold_share_the_calibration_images_of_each_class(score: Score) -> None:
    rule, calibration = Coverage(0.5), BRANCH.known["calibration"]
    result = of(score, rule)
    fits = np.array(result.whole.fits("known", "calibration"))
    assert set(fits) == {"score", "threshold"}
    for label in range(3):
        kinds = list(fits[calibration.targets == label])
        assert kinds == (["threshold", "score"] * len(kinds))[: len(kinds)]
        assert len(kinds) > 1
    scorer = score.fit(calibration[fits == "score"])
    assert result.numbers["score"]["learned"] == scorer.learned
    assert scorer.learned["n"] == (fits == "score").sum()
    for side, known in (("known", BRANCH.known), ("foreign", BRANCH.foreign)):
        for split, found in getattr(result.branch, side).items():
            np.testing.assert_array_equal(found, scorer(known[split]))
    own = scorer(calibration[fits == "threshold"])
    np.testing.assert_array_equal(result.branch.held_out.score, own)
    assert result.numbers["threshold"]["value"] == np.sort(own)[::-1][math.ceil(len(own) / 2) - 1]
    assert result.numbers["threshold"]["n"] == result.numbers["calibration"]["n"] == len(own)
    errors = calibration.error[fits == "threshold"]
    np.testing.assert_array_equal(result.branch.held_out.error, errors)


def test_every_second_image_of_a_class_is_chosen() -> None:
    chosen = every_second(np.array([2, 0, 2, 2, 0, 5, 2, 2]))
    assert chosen.tolist() == [True, True, False, True, False, True, False, True]


@quick
@pytest.mark.parametrize(
    ("score", "rule", "known", "foreign"),
    [
        (MaxSoftmax(), Fixed(0.6), {""}, {""}),
        (MaxSoftmax(), Coverage(0.5), {"threshold"}, {""}),
        (MaxSoftmax(), FalseAccept(0.2), {""}, {"threshold"}),
        (Mahalanobis(), Conformal(0.3), {"threshold"}, {""}),
        (Temperature(), Fixed(0.6), {"score", ""}, {""}),
        (Temperature(), Coverage(0.5), {"score", "threshold"}, {""}),
        (Temperature(), FalseAccept(0.2), {"score", ""}, {"threshold"}),
    ],
)
def test_it_is_said_what_an_image_was_used_for(
    score: Score, rule: Threshold, known: set[str], foreign: set[str]
) -> None:
    result = of(score, rule)
    assert set(result.whole.fits("known", "calibration")) == known
    assert set(result.whole.fits("foreign", "calibration")) == foreign
    assert len(result.whole.fits("known", "calibration")) == 121
    assert len(result.whole.fits("foreign", "calibration")) == 31
    for side, split in (("known", "validation"), ("known", "test"), ("foreign", "test")):
        assert result.whole.fits(side, split) == [""] * len(getattr(BRANCH, side)[split])
    fitted = [*result.whole.fits("known", "calibration"), *result.whole.fits("foreign", "calibration")]
    assert fitted.count("threshold") == result.numbers["threshold"]["n"]


@pytest.mark.parametrize("score", [Temperature(), Correctness()])
def test_one_calibration_image_of_each_class_is_too_few_to_share(score: Score) -> None:
    few = np.unique(BRANCH.known["calibration"].targets, return_index=True)[1]
    branch = NodeAnswers({**BRANCH.known, "calibration": BRANCH.known["calibration"][few]}, BRANCH.foreign)
    with pytest.raises(InputError, match=rf"score={score.kind}.*half.*data\.split\.calibration") as caught:
        of(score, Coverage(0.5), branch)
    text = str(caught.value)
    assert text.endswith(".")
    assert ". " not in text
    assert "\n" not in text
    assert score_node(branch, MaxSoftmax()).with_threshold(Coverage(0.5)).choice.n == 3


# Nothing reads a test label to choose anything.


def conf(group: str) -> list[str]:
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def built(group: str, name: str, **options: float) -> Any:
    kind: type = Score if group == "score" else Threshold
    node = yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text()) | options
    return build(node, group, kind, trusted=False)


def rule_for(score: Score, kind: str) -> Threshold:
    """Lenient enough for every score to be accepted somewhere."""
    settings = yaml.safe_load((conf_dir() / "threshold" / f"{kind}.yaml").read_text())
    if kind == "fixed":
        scores = score_node(BRANCH, score).known["validation"]
        return built("threshold", kind, value=float(np.median(scores)))
    lenient = {"target": 0.6, "delta": 0.4} if "delta" in settings else {"target": 0.4}
    return built("threshold", kind, **lenient)


def changed(
    material: NodeAnswers, split: str, known: Callable, foreign: Callable | None = None
) -> NodeAnswers:
    others = dict(material.foreign)
    if foreign is not None:
        others[split] = foreign(others[split])
    return NodeAnswers({**material.known, split: known(material.known[split])}, others)


def relabelled(answers: Answers) -> Answers:
    """Every example gets another label; a foreign example that of another foreign class."""
    own = answers.targets >= 0
    targets = np.where(own, (answers.targets + 1) % 3, -1 - (answers.foreign_labels + 1) % 3)
    assert (targets != answers.targets).all()
    return replace(answers, targets=targets)


def replaced(answers: Answers) -> Answers:
    """Other examples altogether."""
    return replace(relabelled(answers), logits=-answers.logits, activations=answers.activations[::-1] + 1)


def chosen(result: Evaluation) -> dict[str, Any]:
    """Everything that a run chooses or learns."""
    numbers = result.numbers
    return {
        **{name: numbers[name] for name in ("score", "threshold", "calibration", "validation")},
        "temperature": numbers["reliability"]["temperature"],
        "parent": (result.parent.choice, result.parent.scorer.learned),
        "fitted_on": result.branch.fitted_on,
        "thresholds": [(point.threshold, point.chosen) for point in result.points],
        "fits": [
            result.whole.fits(*where) for where in (("known", "calibration"), ("foreign", "calibration"))
        ],
    }


@quick
@pytest.mark.parametrize("rule", conf("threshold"))
@pytest.mark.parametrize("score", conf("score"))
def test_labels_of_test_images_move_nothing_but_what_is_judged_by_them(score: str, rule: str) -> None:
    mine = built("score", score)
    limit = rule_for(mine, rule)
    poisoned = [changed(one, "test", relabelled, relabelled) for one in (BRANCH, PARENT)]
    before, after = of(mine, limit), of(mine, limit, *poisoned)
    np.testing.assert_equal(chosen(after), chosen(before))
    for judged, other in ((before.branch, after.branch), (before.parent, after.parent)):
        for side in ("known", "foreign"):
            for split, scores in getattr(judged, side).items():
                np.testing.assert_array_equal(getattr(other, side)[split], scores)
    for name in ("n_accepted", "coverage"):
        assert after.numbers["test"][name] == before.numbers["test"][name]
    for name in ("n_accepted", "false_accept_rate", "auroc", "fpr95"):
        assert after.numbers["foreign"][name] == before.numbers["foreign"][name]
    for name in ("accuracy", "selective_accuracy", "confusion"):
        assert after.numbers["test"][name] != before.numbers["test"][name]
    restricted = [one.numbers["test"]["parent_restricted"]["accuracy"] for one in (before, after)]
    assert restricted[0] != restricted[1]
    assert after.numbers["foreign"]["per_class"] != before.numbers["foreign"]["per_class"]
    assert before.numbers["threshold"]["value"] < math.inf  # it could have moved


@quick
@pytest.mark.parametrize(
    ("score", "rule"),
    [(score, "risk") for score in conf("score")] + [("max_softmax", rule) for rule in conf("threshold")],
)
def test_test_images_as_such_choose_nothing(score: str, rule: str) -> None:
    mine = built("score", score)
    limit = rule_for(mine, rule)
    poisoned = [changed(one, "test", replaced, replaced) for one in (BRANCH, PARENT)]
    before, after = of(mine, limit), of(mine, limit, *poisoned)
    np.testing.assert_equal(chosen(after), chosen(before))
    for side in ("known", "foreign"):
        assert (getattr(after.branch, side)["test"] != getattr(before.branch, side)["test"]).any()


@quick
def test_labels_of_calibration_images_do_move_what_is_fitted_on_them() -> None:
    poisoned = [changed(one, "calibration", relabelled) for one in (BRANCH, PARENT)]
    for score, rule in (
        (MaxSoftmax(), Risk(0.2)),
        (Temperature(), Coverage(0.5)),
        (Correctness(), Fixed(0.5)),
    ):
        before, after = chosen(of(score, rule)), chosen(of(score, rule, *poisoned))
        moved = {name for name in before if repr(before[name]) != repr(after[name])}
        assert moved >= {"calibration", "temperature"}
        assert ("threshold" in moved) == (rule.kind != "fixed")
        assert ("score" in moved) == (score.learns_from == "calibration")


# Reliability.


def hand_ece(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Image by example into the 15 bins of a reliability diagram, (edge, edge]."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, target in zip(probabilities.tolist(), targets.tolist(), strict=True):
        # Same float divisions as the edges have, so that equality is equality.
        index = next(k for k in range(15) if max(row) <= np.linspace(0, 1, 16)[k + 1])
        bins[index].append((max(row), row.index(max(row)) == target))
    gaps = [abs(sum(confidence - right for confidence, right in one)) for one in bins]
    return sum(gaps) / len(targets)


def hand_equal_mass(probabilities: np.ndarray, targets: np.ndarray) -> float:
    pairs = [
        (max(row), row.index(max(row)) == y) for row, y in zip(probabilities.tolist(), targets, strict=True)
    ]
    pairs.sort(key=lambda pair: pair[0])
    sizes = [len(pairs) // 15 + (k < len(pairs) % 15) for k in range(15)]
    gaps, start = 0.0, 0
    for size in sizes:
        gaps += abs(sum(confidence - right for confidence, right in pairs[start : start + size]))
        start += size
    assert start == len(pairs)
    return gaps / len(pairs)


def sharp(answers: Answers, factor: float) -> Answers:
    return replace(answers, logits=answers.logits * np.float32(factor))


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 3.0])
def test_probabilities_are_judged_before_and_after_scaling(factor: float) -> None:
    calibration, test = (sharp(BRANCH.known[split], factor) for split in ("calibration", "test"))
    result = reliability(calibration, test, Bootstrap(64, resamples=50))
    assert result["split"] == "calibration"
    assert (result["n"], result["test_n"]) == (121, 64)
    for name, temperature in (("before", 1.0), ("after", result["temperature"])):
        found, probabilities = result[name], softmax(test.logits, temperature)
        assert found["ece"] == pytest.approx(hand_ece(probabilities, test.targets), abs=1e-6)
        theirs = multiclass_calibration_error(
            torch.from_numpy(probabilities), torch.from_numpy(test.targets), num_classes=3, n_bins=15
        )
        assert found["ece"] == pytest.approx(float(theirs), abs=1e-6)
        assert found["ece_equal_mass"] == pytest.approx(hand_equal_mass(probabilities, test.targets))
        assert equal_mass_error(probabilities, test.targets) == found["ece_equal_mass"]
        assert found["nll"] == pytest.approx(log_loss(test.targets, probabilities, labels=range(3)))
        brier = [
            sum((p - (label == target)) ** 2 for label, p in enumerate(row))
            for row, target in zip(probabilities.tolist(), test.targets.tolist(), strict=True)
        ]
        assert found["brier"] == pytest.approx(sum(brier) / 64)
        claims = [
            row.index(max(row)) == target
            for row, target in zip(probabilities.tolist(), test.targets.tolist(), strict=True)
            if max(row) >= 0.96
        ]
        assert found["confident"]["confidence"] == 0.96
        assert found["confident"]["n"] == len(claims)
        accuracy = sum(claims) / len(claims) if claims else math.nan
        assert found["confident"]["accuracy"] == pytest.approx(accuracy, nan_ok=True)
        losses = [-math.log(row[y]) for row, y in zip(probabilities.tolist(), test.targets, strict=True)]
        for statistic, values in (("brier", brier), ("nll", losses)):
            expected = bootstrap_interval(lambda v, _: v.mean(), values, np.zeros(64), resamples=50)
            assert found["intervals"][statistic] == pytest.approx(expected)
    if factor == 3:
        assert 0 < result["before"]["confident"]["n"] < 64


def test_no_interval_stands_around_a_calibration_error() -> None:
    result = reliability(BRANCH.known["calibration"], BRANCH.known["test"], Bootstrap(64, resamples=50))
    for numbers in (result["before"], result["after"]):
        assert set(numbers["intervals"]) == {"brier", "nll"}
        assert set(numbers["if_calibrated"]) == {"redraws", "ece", "ece_equal_mass"}


def test_the_floor_of_a_calibration_error_is_that_of_redrawn_labels() -> None:
    """Every label redrawn by hand, an answer being right with the probability that it claims."""
    test, rng = BRANCH.known["test"], np.random.default_rng(3)
    probabilities = softmax(test.logits)
    found = if_calibrated(probabilities, test.targets)
    answers, claimed = probabilities.argmax(1), probabilities.max(1)
    draws = np.where(rng.random((4000, 64)) < claimed, answers, (answers + 1) % 3)
    for name, error in (("ece", equal_width_error), ("ece_equal_mass", equal_mass_error)):
        floor = [error(probabilities, targets) for targets in draws]
        assert found[name]["mean"] == pytest.approx(np.mean(floor), abs=0.003)
        assert found[name]["quantile_95"] == pytest.approx(np.quantile(floor, 0.95), abs=0.006)
        seen = np.mean(np.array(floor) >= error(probabilities, test.targets))
        assert found[name]["p_value"] == pytest.approx(seen, abs=0.05)
    assert found == if_calibrated(probabilities, test.targets)


def test_calibrated_answers_have_any_p_value_and_boastful_ones_a_small_one() -> None:
    rng = np.random.default_rng(4)
    values = []
    for _ in range(60):
        first = rng.uniform(0.5, 1, 200)
        probabilities = np.stack([first, 1 - first], axis=1)
        targets = (rng.random(200) > first).astype(np.int64)
        values.append(if_calibrated(probabilities, targets)["ece"]["p_value"])
    assert kstest(values, "uniform").pvalue > 0.01
    boastful = np.full((200, 2), [0.95, 0.05])
    targets = (np.arange(200) % 5 == 0).astype(np.int64)
    assert if_calibrated(boastful, targets)["ece"]["p_value"] == 1 / 1001


def test_certain_answers_are_in_one_bin_with_nearly_certain_ones() -> None:
    # The softmax of 40 against 0 is 1 to the last bit; that of 4 against 0 is 0.96.
    logits = np.array([[40, 0, 0], [40, 0, 0], [4, 0, 0], [4, 0, 0], [5, 0, 0], [0, 1, 0]], dtype=np.float32)
    test = Answers(np.arange(6), np.array([1, 0, 0, 0, 0, 2]), logits, np.zeros((6, 1), dtype=np.float32))
    result = reliability(BRANCH.known["calibration"], test, Bootstrap(6, resamples=10))["before"]
    probabilities = softmax(logits)
    assert probabilities[0].max() == 1
    assert result["ece"] == pytest.approx(hand_ece(probabilities, test.targets), abs=1e-6)


def test_an_impossible_outcome_costs_much_and_not_everything() -> None:
    logits = np.array([[2000, 0, 0], [1, 0, 0]], dtype=np.float32)
    test = Answers(np.arange(2), np.array([1, 0]), logits, np.zeros((2, 1), dtype=np.float32))
    result = reliability(BRANCH.known["calibration"], test, Bootstrap(2, resamples=10))["before"]
    likely = math.exp(1) / (math.exp(1) + 2)
    assert result["nll"] == pytest.approx((-math.log(np.finfo(float).tiny) - math.log(likely)) / 2)


def test_the_temperature_is_the_best_one_for_calibration_and_knows_no_other_image() -> None:
    calibration, test = BRANCH.known["calibration"], BRANCH.known["test"]
    temperature = reliability(calibration, test, Bootstrap(64, resamples=10))["temperature"]

    def loss(value: float) -> float:
        return log_loss(calibration.targets, softmax(calibration.logits, value), labels=range(3))

    assert loss(temperature) < min(loss(temperature * 1.01), loss(temperature / 1.01), loss(1.0))
    assert reliability(calibration, replaced(test), Bootstrap(64, resamples=10))["temperature"] == temperature
    others = reliability(relabelled(calibration), test, Bootstrap(64, resamples=10))
    assert others["temperature"] != temperature
    for pair in PAIRS:  # all calibration examples, whatever the score has learned from
        found = evaluated(pair).numbers["reliability"]
        assert (found["temperature"], found["n"]) == (temperature, 121)


def test_bins_hold_every_image_once() -> None:
    edges = np.linspace(0, 1, 16)
    # On an edge an example belongs to the bin below it.
    confidence = [edges[9], np.nextafter(edges[9], 1), 0.61, 1.0, 1.0, 0.95]
    probabilities = np.array([[top, 1 - top] for top in confidence])
    bins = bins_of(probabilities, np.array([0, 0, 1, 0, 1, 0]))
    np.testing.assert_array_equal(bins.edges, edges)
    assert bins.count.tolist() == [0] * 8 + [1, 2] + [0] * 4 + [3]
    assert bins.count.sum() == 6
    assert bins.accuracy[8:10].tolist() == [1, 0.5]
    assert bins.accuracy[14] == pytest.approx(2 / 3)
    assert bins.confidence[[8, 9, 14]] == pytest.approx([confidence[0], (confidence[1] + 0.61) / 2, 2.95 / 3])
    assert np.isnan(bins.confidence[bins.count == 0]).all()
    assert np.isnan(bins.accuracy[bins.count == 0]).all()


def test_diagrams_are_of_the_test_images_before_and_after() -> None:
    result = evaluated("max_logit at a coverage")
    test, numbers = BRANCH.known["test"], result.numbers["reliability"]
    for diagram, name in zip(result.whole.diagrams(), ("before", "after"), strict=True):
        assert diagram.count.sum() == 64
        filled = diagram.count > 0
        right = (diagram.count * diagram.accuracy)[filled].sum()
        assert right == pytest.approx(sum(not error for error in wrong(test)))
        gap = diagram.count[filled] @ np.abs(diagram.accuracy - diagram.confidence)[filled]
        assert gap / 64 == pytest.approx(numbers[name]["ece"], abs=1e-6)
    assert result.whole.diagrams()[0].count.tolist() != result.whole.diagrams()[1].count.tolist()


# Foreign classes.


def test_near_classes_share_a_superclass_with_a_class_of_the_subset() -> None:
    assert FOREIGN.classes == ("bus", "fox", "elk")  # in the order of the data set
    assert FOREIGN.near == {"fox"}
    assert [FOREIGN.distance(name) for name in FOREIGN.classes] == ["far", "near", "far"]
    assert Foreign.of(CLASSES, KNOWN, {}).near == frozenset()
    everyone = {"all": list(KNOWN)}
    assert Foreign.of(CLASSES, KNOWN, everyone).near == set(FOREIGN.classes)
    assert Foreign.of(["elk"], KNOWN, SUPERCLASSES).near == frozenset()
    assert Foreign.of(["dog"], ["dog", "elk"], everyone).near == {"elk"}  # cats are no class here
    assert NO_FOREIGN.classes == ()
    assert NO_FOREIGN.near == frozenset()


def by_hand(own: Sequence[float], errors: Sequence[bool], others: Sequence[float], threshold: float) -> dict:
    accepted = [score >= threshold for score in others]
    # The largest own score that still answers 95 of 100 own examples.
    limit = max(t for t in own if Fraction(sum(s >= t for s in own), len(own)) >= Fraction(95, 100))
    both = [*own, *others], [*errors, *(True for _ in others)]
    return {
        "n": len(others),
        "n_accepted": sum(accepted),
        "false_accept_rate": sum(accepted) / len(others),
        "auroc": roc_auc_score([1] * len(own) + [0] * len(others), both[0]),
        "fpr95": sum(score >= limit for score in others) / len(others),
        "scod_aurc": aurc(*both),
        "scod_augrc": augrc(*both),
    }


@every_pair
def test_foreign_numbers_are_recounted(pair: str) -> None:
    result = evaluated(pair)
    numbers, labels = result.numbers["foreign"], (-1 - BRANCH.foreign["test"].targets).tolist()
    own, errors = result.branch.known["test"].tolist(), wrong(BRANCH.known["test"])
    others, threshold = result.branch.foreign["test"].tolist(), result.numbers["threshold"]["value"]
    assert same(numbers, by_hand(own, errors, others, threshold))
    near = {"bus": False, "fox": True, "elk": False}
    for name, wanted in (("near", True), ("far", False)):
        some = [
            s for s, label in zip(others, labels, strict=True) if near[("bus", "fox", "elk")[label]] == wanted
        ]
        assert same(numbers[name], by_hand(own, errors, some, threshold))
        assert all(
            low <= numbers[name][key] <= high for key, (low, high) in numbers[name]["intervals"].items()
        )
    assert numbers["near"]["n"] + numbers["far"]["n"] == numbers["n"] == 38
    assert list(numbers["per_class"]) == ["bus", "fox", "elk"]
    for label, name in enumerate(("bus", "fox", "elk")):
        mine = [score for score, other in zip(others, labels, strict=True) if other == label]
        entry = numbers["per_class"][name]
        assert entry["distance"] == ("near" if near[name] else "far")
        assert entry["n"] == len(mine)
        assert entry["n_accepted"] == sum(score >= threshold for score in mine)
        assert entry["false_accept_rate"] == entry["n_accepted"] / entry["n"]
        low, high = entry["intervals"]["false_accept_rate"]
        assert low <= entry["false_accept_rate"] <= high
        assert low < high
    restricted = result.parent.known["test"].tolist(), wrong(PARENT.known["test"])
    theirs = by_hand(*restricted, result.parent.foreign["test"].tolist(), result.parent.choice.value)
    assert same(numbers["parent_restricted"], theirs)


def test_fpr95_takes_equal_scores_together() -> None:
    own = np.array([0.9] * 10 + [0.5] * 9 + [0.1])
    error = np.zeros(20, dtype=bool)
    others = np.array([0.9, 0.5, 0.5, 0.4, 0.1])
    assert foreign_numbers(own, error, others, 0.5)["fpr95"] == 0.6  # 19 of 20 lie at 0.5 or above
    own[18] = 0.1  # and now 18: the next score answers all of them
    assert foreign_numbers(own, error, others, 0.5)["fpr95"] == 1
    assert foreign_numbers(own, error, others, 0.5) == pytest.approx(by_hand(own, error, others, 0.5))
    tied = foreign_numbers(np.full(4, 0.5), error[:4], np.full(3, 0.5), 0.5)
    assert (tied["auroc"], tied["fpr95"], tied["false_accept_rate"]) == (0.5, 1, 1)


def test_the_curve_with_foreign_images_has_the_areas_of_the_numbers() -> None:
    for pair in PAIRS:
        result = evaluated(pair)
        curve = result.whole.threshold_free.scod_curve
        assert curve.aurc() == result.numbers["foreign"]["scod_aurc"]
        assert curve.augrc() == result.numbers["foreign"]["scod_augrc"]
        assert curve.n[0] == 64 + 38
        assert curve.n_errors[0] == sum(wrong(BRANCH.known["test"])) + 38


def test_a_class_that_is_left_out_meets_a_threshold_that_has_not_seen_it() -> None:
    result = evaluated("mahalanobis with a limit for foreign examples")
    calibration, test = (-1 - BRANCH.foreign[split].targets for split in ("calibration", "test"))
    seen, scores = (result.branch.foreign[split] for split in ("calibration", "test"))
    table = result.numbers["foreign"]["per_class"]
    limits = set()
    for label, name in enumerate(("bus", "fox", "elk")):
        others = sorted(score for score, other in zip(seen, calibration, strict=True) if other != label)
        limit = others[math.ceil((len(others) + 1) * Fraction(7, 10)) - 1]  # the target is 3 of 10
        limits.add(limit)
        mine = [score for score, other in zip(scores, test, strict=True) if other == label]
        expected = sum(score > limit for score in mine) / len(mine)
        assert table[name]["left_out_false_accept_rate"] == expected
    assert len(limits) > 1
    rates = [(entry["left_out_false_accept_rate"], entry["false_accept_rate"]) for entry in table.values()]
    assert any(without != beside for without, beside in rates)
    for pair in PAIRS:
        entries = evaluated(pair).numbers["foreign"]["per_class"].values()
        assert all(("left_out_false_accept_rate" in entry) == ("foreign" in pair) for entry in entries)


def test_the_only_foreign_class_cannot_be_left_out() -> None:
    mine = score_node(BRANCH, MaxSoftmax()).with_threshold(FalseAccept(0.3))
    calibration, test = (
        replace(BRANCH.foreign[split], targets=np.full(FOREIGN_SIZES[split], -1))
        for split in ("calibration", "test")
    )
    assert left_out(FalseAccept(0.3), mine.held_out, calibration, test, mine.foreign["test"]) == {}


@quick
def test_where_all_are_far_nothing_is_said_of_near_ones() -> None:
    alone = Foreign.of(CLASSES, KNOWN, {})
    numbers = evaluate(
        evaluate_threshold_free(BRANCH, PARENT, MaxSoftmax(), CLASSES, alone), Fixed(0.6)
    ).numbers["foreign"]
    assert numbers["near"] is None
    interval = {"false_accept_rate": numbers["intervals"]["false_accept_rate"]}
    assert numbers["far"] == {name: numbers[name] for name in numbers["far"]} | {"intervals": interval}
    assert {entry["distance"] for entry in numbers["per_class"].values()} == {"far"}


@quick
@pytest.mark.parametrize("score", [MaxSoftmax(), Temperature(), Mahalanobis()])
@pytest.mark.parametrize("rule", [Fixed(0.6), Coverage(0.7), Risk(0.2), FixedSequence(0.4, 0.2)])
def test_a_subset_of_everything_has_no_foreign_numbers(score: Score, rule: Threshold) -> None:
    nobody = np.zeros(0, dtype=np.int64)
    branch, parent = (
        NodeAnswers(one.known, {split: answers[nobody] for split, answers in one.foreign.items()})
        for one in (BRANCH, PARENT)
    )
    result = evaluate(evaluate_threshold_free(branch, parent, score, CLASSES, NO_FOREIGN), rule)
    assert result.numbers["foreign"] is None
    assert {point.false_accept_rate for point in result.points} == {None}
    assert result.whole.fits("foreign", "test") == result.whole.fits("foreign", "calibration") == []
    beside = of(score, rule).numbers
    for block in ("score", "threshold", "calibration", "reliability", "test"):
        np.testing.assert_equal(result.numbers[block], beside[block])
    plain = risk_coverage_curve(result.branch.known["test"], BRANCH.known["test"].error)
    np.testing.assert_equal(asdict(result.whole.threshold_free.scod_curve), asdict(plain))


def test_a_foreign_image_that_is_answered_is_an_error() -> None:
    curve = scod_curve(np.array([0.9, 0.2]), np.array([False, True]), np.array([0.5, 0.9]))
    assert curve.threshold.tolist() == [0.2, 0.5, 0.9]
    assert curve.n_accepted.tolist() == [4, 3, 2]
    assert curve.n_errors.tolist() == [3, 2, 1]


# Several thresholds beside the chosen one.


@every_pair
def test_points_are_recounted(pair: str) -> None:
    result = evaluated(pair)
    scores, errors = result.branch.known["test"], BRANCH.known["test"].error
    thresholds = [point.threshold for point in result.points]
    assert thresholds == sorted(set(thresholds))
    own = [point.threshold for point in result.points if point.chosen]
    assert own == [result.numbers["threshold"]["value"]]
    for point in result.points:
        expected = recount(scores.tolist(), wrong(BRANCH.known["test"]), point.threshold)
        assert point.n_accepted == expected["n_accepted"]
        assert point.coverage == expected["coverage"]
        assert point.selective_accuracy == pytest.approx(expected["selective_accuracy"], nan_ok=True)
        answered = [score >= point.threshold for score in result.branch.foreign["test"].tolist()]
        assert point.false_accept_rate == pytest.approx(sum(answered) / 38)
        [intervals] = acceptance_intervals(scores, errors, [point.threshold])
        assert (point.coverage_low, point.coverage_high) == intervals["coverage"]
        found = point.selective_accuracy_low, point.selective_accuracy_high
        assert found == pytest.approx(intervals["selective_accuracy"], rel=1e-12, nan_ok=True)
    [own_point] = [point for point in result.points if point.chosen]
    test = result.numbers["test"]
    assert own_point.coverage == test["coverage"]
    assert own_point.false_accept_rate == result.numbers["foreign"]["false_accept_rate"]
    assert (own_point.coverage_low, own_point.coverage_high) == test["intervals"]["coverage"]


@quick
@pytest.mark.parametrize("value", [0.6, 0.65, 0.0, 1.0])
def test_probabilities_are_tried_at_round_numbers(value: float) -> None:
    found = [(point.threshold, point.chosen) for point in of(MaxSoftmax(), Fixed(value)).points]
    assert found == [(one, one == value) for one in sorted({0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, value})]
    assert len(found) == len(PROBABILITIES) + (value != 0.6)


@quick
@pytest.mark.parametrize("score", [MaxLogit(), NegativeEntropy(), Mahalanobis()])
def test_other_scores_are_tried_where_they_answer_tenths_of_calibration(score: Score) -> None:
    result = of(score, Coverage(0.5))
    seen = score_node(BRANCH, score).known["calibration"].tolist()
    expected = set()
    for tenths in range(1, 11):
        enough = [t for t in seen if 10 * sum(s >= t for s in seen) >= tenths * len(seen)]
        expected.add(max(enough))
    assert [point.threshold for point in result.points] == sorted(expected)
    assert min(expected) == min(seen)
    assert len(COVERAGES) == 10 >= len(expected) > 5
    [own] = [point for point in result.points if point.chosen]
    assert own.threshold == result.numbers["threshold"]["value"]
    assert len(of(score, Fixed(-0.01234)).points) == len(expected) + 1


@pytest.mark.parametrize("score", [MaxSoftmax(), MaxLogit()])
def test_a_threshold_that_refuses_everything_comes_last(score: Score) -> None:
    points = of(score, Conformal(0.001)).points
    last = points[-1]
    assert last.threshold == math.inf
    assert last.chosen
    assert not any(point.chosen for point in points[:-1])
    assert last.n_accepted == last.coverage == last.coverage_low == 0
    assert last.coverage_high == proportion_interval(0, 64)[1]
    accuracies = last.selective_accuracy, last.selective_accuracy_low, last.selective_accuracy_high
    assert np.isnan(accuracies).all()
    assert last.false_accept_rate == 0
