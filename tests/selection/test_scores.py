"""Every score against a naive formula, its bounds, and what it may learn from."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf

from neural_branching.errors import InputError
from neural_branching.selection import Answers, failure_auroc
from neural_branching.selection.scores.from_activations import (
    Mahalanobis,
    NearestNeighbours,
    RelativeMahalanobis,
)
from neural_branching.selection.scores.from_logits import (
    Energy,
    LogitScore,
    Margin,
    MaxLogit,
    MaxSoftmax,
    NegativeEntropy,
    softmax,
)
from neural_branching.selection.scores.learned import Correctness, Temperature, fit_temperature
from neural_branching.selection.scores.score import Score

OUTPUTS: list[type[LogitScore]] = [MaxSoftmax, Margin, NegativeEntropy, MaxLogit, Energy]
LEARNS_FROM: dict[type[Score], str | None] = {
    **dict.fromkeys(OUTPUTS),
    Temperature: "calibration",
    Correctness: "calibration",
    Mahalanobis: "train",
    RelativeMahalanobis: "train",
    NearestNeighbours: "train",
}
SCORES = list(LEARNS_FROM)

seeded = settings(derandomize=True, deadline=None, max_examples=100)
# Ties, sane logits, and logits whose exponentials no float holds.
logit = st.one_of(st.sampled_from([0.0, 1.0, -1e4, 1e4]), st.floats(-30, 30), st.floats(-1e4, 1e4))
matrices = st.integers(2, 5).flatmap(
    lambda classes: st.lists(st.lists(logit, min_size=classes, max_size=classes), min_size=1, max_size=4)
)


def naive_softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / math.fsum(powers) for power in powers]


def naive_margin(logits: Sequence[float]) -> float:
    second, first = sorted(naive_softmax(logits))[-2:]
    return first - second


def naive_energy(logits: Sequence[float]) -> float:
    return max(logits) + math.log(math.fsum(math.exp(z - max(logits)) for z in logits))


NAIVE: dict[type[LogitScore], Callable[[Sequence[float]], float]] = {
    MaxSoftmax: lambda logits: max(naive_softmax(logits)),
    Margin: naive_margin,
    NegativeEntropy: lambda logits: math.fsum(p * math.log(p) for p in naive_softmax(logits) if p),
    MaxLogit: max,
    Energy: naive_energy,
}


def answers(logits: object, targets: object = None, activations: object = None) -> Answers:
    values = np.asarray(logits, dtype=np.float64)
    n = len(values)
    return Answers(
        rows=np.arange(n),
        targets=np.zeros(n, dtype=np.int64) if targets is None else np.asarray(targets, dtype=np.int64),
        logits=values,
        activations=np.zeros((n, 1)) if activations is None else np.asarray(activations, dtype=np.float64),
    )


def simulated(n: int, seed: int, classes: int = 3, width: int = 4) -> Answers:
    """Activations around a mean per class, and logits that are right more often where they are large."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(classes, size=n)
    means = 1.5 * np.eye(classes, width)
    activations = means[targets] + rng.normal(size=(n, width))
    logits = 2 * activations @ means.T
    return Answers(np.arange(n), targets, logits.astype(np.float32), activations.astype(np.float32))


def test_answers_know_their_errors() -> None:
    given_answers = answers([[2, 1, 0], [0, 3, 1], [0, 1, 5]], [0, 2, -2])
    assert given_answers.predictions.tolist() == [0, 1, 2]
    assert given_answers.error.tolist() == [False, True, True]
    assert given_answers[np.array([2])].foreign_labels.tolist() == [1]
    assert len(given_answers) == 3
    some = given_answers[np.array([True, False, True])]
    assert (some.rows.tolist(), some.targets.tolist(), len(some)) == ([0, 2], [0, -2], 2)
    assert some.logits.tolist() == [[2, 1, 0], [0, 1, 5]]


def test_softmax_is_stable() -> None:
    logits = np.array([[1e4, -1e4, 0.0], [1e30, 1e30, -1e30], [-1e4, -1e4, -1e4]])
    np.testing.assert_allclose(softmax(logits), [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3])
    np.testing.assert_allclose(MaxSoftmax().of(logits), [1, 0.5, 1 / 3])


@seeded
@given(matrices, st.floats(0.05, 20))
def test_softmax_equals_its_definition(logits: list[list[float]], temperature: float) -> None:
    expected = [naive_softmax(row, temperature) for row in logits]
    np.testing.assert_allclose(softmax(logits, temperature), expected, rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(softmax(logits), softmax(logits, 1))
    np.testing.assert_allclose(softmax(logits).sum(axis=1), 1, rtol=1e-12)


@seeded
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6), st.floats(-100, 100))
def test_a_shift_of_all_logits_changes_no_probability(logits: list[float], shift: float) -> None:
    shifted = [z + shift for z in logits]
    np.testing.assert_allclose(softmax([shifted]), softmax([logits]), rtol=1e-9)
    for score in (MaxSoftmax(), Margin(), NegativeEntropy()):
        np.testing.assert_allclose(score.of([shifted]), score.of([logits]), rtol=1e-7, atol=1e-10)
    for score in (MaxLogit(), Energy()):
        np.testing.assert_allclose(score.of([shifted]), score.of([logits]) + shift, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("score", OUTPUTS)
@seeded
@given(logits=matrices)
@example(logits=[[1e4, 1e4 - 1, -1e4], [0, 0, 0], [-1e4, -1e4, 1e4]])
def test_scores_of_logits_equal_their_definition(score: type[LogitScore], logits: list[list[float]]) -> None:
    expected = [NAIVE[score](row) for row in logits]
    values = score().of(logits)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(score().fit(None)(answers(logits)), values)


@pytest.fixture(scope="module")
def fitted() -> dict[type[Score], Callable[[Answers], np.ndarray]]:
    return {
        kind: kind().fit(simulated(120, seed=1) if split else None) for kind, split in LEARNS_FROM.items()
    }


@pytest.mark.parametrize("score", SCORES)
@seeded
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-30, 1.0, 1e4]), st.booleans())
def test_scores_are_finite_and_within_their_bounds(
    fitted: dict[type[Score], Callable], score: type[Score], seed: int, scale: float, opposite: bool
) -> None:
    some = simulated(6, seed)
    if opposite:  # the farthest point from a training example
        some = replace(some, activations=-simulated(120, seed=1).activations[:6])
    some = replace(some, logits=scale * some.logits, activations=scale * some.activations)
    values = fitted[score](some)
    low, high = score.bounds
    assert values.shape == (6,)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert (low <= values).all()
    assert (values <= high).all()


def test_the_farthest_neighbour_is_within_the_bounds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        vector = rng.normal(size=(1, int(rng.integers(1, 30))))
        scorer = NearestNeighbours(1).fit(answers([[0, 0]], activations=vector))
        (value,) = scorer(answers([[0, 0]], activations=-vector))
        assert value == pytest.approx(-2)
        assert value >= NearestNeighbours.bounds[0]


@pytest.mark.parametrize("score", SCORES)
def test_a_score_does_not_look_at_targets_or_rows(fitted: dict[type[Score], Callable], score: type) -> None:
    some = simulated(50, seed=2)
    values = fitted[score](some)
    assert len(np.unique(values)) > 10
    for targets in (np.full(50, -1), np.full(50, 10**9), some.targets[::-1].copy()):
        poisoned = replace(some, targets=targets, rows=np.full(50, -3))
        np.testing.assert_array_equal(fitted[score](poisoned), values)


@pytest.mark.parametrize("score", SCORES)
def test_an_image_is_scored_alone(fitted: dict[type[Score], Callable], score: type) -> None:
    some = simulated(20, seed=3)
    alone = [fitted[score](some[np.array([i])])[0] for i in range(20)]
    np.testing.assert_allclose(fitted[score](some), alone, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize(("score", "split"), LEARNS_FROM.items())
def test_scores_declare_what_they_learn_from(score: type[Score], split: str | None) -> None:
    assert score.learns_from == split
    assert str(score()).split()[0] == score.kind
    low, high = score.bounds
    assert low < high


def test_kinds_are_distinct() -> None:
    assert len({score.kind for score in SCORES}) == len(SCORES)


@pytest.mark.parametrize("score", [*OUTPUTS, Temperature, Correctness])
def test_scores_of_logits_tell_right_from_wrong(
    fitted: dict[type[Score], Callable], score: type[Score]
) -> None:
    some = simulated(2000, seed=4)
    assert 0.1 < some.error.mean() < 0.5
    assert failure_auroc(fitted[score](some), some.error) > 0.55


@pytest.mark.parametrize(
    ("score", "mean"),
    [
        (Mahalanobis, [-2, -2, -2, 4]),
        (NearestNeighbours, [-2, -2, -2, 4]),
        (RelativeMahalanobis, [0.5, 0.5, 0.5, 0]),  # near all classes together, near none of them
    ],
)
def test_scores_of_activations_tell_known_from_foreign(
    fitted: dict[type[Score], Callable], score: type[Score], mean: list[float]
) -> None:
    known = simulated(500, seed=4)
    foreign = replace(known, activations=0.1 * known.activations + mean)
    values = np.concatenate([fitted[score](known), fitted[score](foreign)])
    assert failure_auroc(values, np.repeat([0, 1], 500)) > 0.8


def test_float32_logits_and_tensors_give_float64_scores() -> None:
    for score in OUTPUTS:
        single = score().of(np.zeros((2, 3), np.float32))
        assert single.dtype == np.float64
        tensor = torch.zeros(2, 3, dtype=torch.bfloat16, requires_grad=True)
        np.testing.assert_array_equal(score().of(tensor), single)


@pytest.mark.parametrize(
    ("logits", "named"),
    [
        ([1.0, 2.0], r"logits have shape \(2,\)"),
        ([[[1.0]]], r"logits have shape \(1, 1, 1\)"),
        (np.zeros((3, 0)), r"logits have shape \(3, 0\)"),
        ([[1.0, math.nan]], "logits contain nan"),
        ([[1.0, -math.inf]], "logits contain -inf"),
        ([["a", "b"]], "logits cannot be read as numbers"),
    ],
)
def test_unusable_logits_are_refused(logits: object, named: str) -> None:
    functions: list[Callable] = [softmax, *(score().of for score in OUTPUTS)]
    functions.append(lambda values: fit_temperature(values, np.array([0])))
    for function in functions:
        with pytest.raises(ValueError, match=rf"^{named}.*\.$"):
            function(logits)


def labelled(n: int, temperature: float, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(n, classes))
    cumulative = softmax(logits, temperature).cumsum(axis=1)
    return logits, (rng.random((n, 1)) > cumulative[:, :-1]).sum(axis=1)


def likelihood(logits: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood."""
    return -float(np.log(softmax(logits, temperature)[np.arange(len(targets)), targets]).mean())


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_a_temperature_is_recovered(temperature: float) -> None:
    logits, targets = labelled(40_000, temperature, seed=2)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("seed", range(8))
def test_a_temperature_has_the_least_loss_of_a_grid(seed: int) -> None:
    logits, targets = labelled(30, float(np.exp(seed / 3 - 1)), seed)
    found = fit_temperature(logits, targets)
    losses = [likelihood(logits, targets, t) for t in np.geomspace(0.05, 50, 400)]
    assert 0.05 <= found <= 50
    assert likelihood(logits, targets, found) <= min(losses) + 1e-10
    assert min(losses) <= likelihood(logits, targets, found) + 1e-3  # the grid comes near


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_scaled_logits_scale_the_temperature(factor: float) -> None:
    logits, targets = labelled(200, 1.5, seed=3)
    scaled = fit_temperature(factor * logits, targets)
    assert scaled == pytest.approx(factor * fit_temperature(logits, targets), rel=1e-5)
    shifted = logits + np.arange(200)[:, None]
    assert fit_temperature(shifted, targets) == pytest.approx(fit_temperature(logits, targets), rel=1e-5)


@pytest.mark.parametrize("gap", [0.01, 1, 10, 100, 1000, 1e4])
def test_temperatures_of_extreme_answers_stop_at_a_bound(gap: float) -> None:
    logits, right = gap * np.eye(3), np.arange(3)
    assert fit_temperature(logits, (right + 1) % 3) == pytest.approx(50, rel=1e-4)
    found = fit_temperature(logits, right)
    assert 0.02 * (1 - 1e-9) <= found <= 50
    # Where the loss underflows, colder is no better; up to there the bound is reached.
    assert found == pytest.approx(0.02, rel=1e-4) or likelihood(logits, right, found) == 0
    assert found == pytest.approx(0.02, rel=1e-4) or gap > 10


def test_the_temperature_score_is_the_softmax_at_the_learned_temperature() -> None:
    logits, targets = labelled(500, 2.0, seed=5)
    scorer = Temperature().fit(answers(logits, targets))
    temperature = fit_temperature(logits, targets)
    assert scorer.learned == {"temperature": temperature, "n": 500}
    other, _ = labelled(20, 1.0, seed=6)
    expected = [max(naive_softmax(row, temperature)) for row in other.tolist()]
    np.testing.assert_allclose(scorer(answers(other)), expected, rtol=1e-9)


def test_a_temperature_of_1_leaves_the_largest_softmax() -> None:
    logits, targets = labelled(40_000, 1.0, seed=7)
    values = Temperature().fit(answers(logits, targets))(answers(logits))
    np.testing.assert_allclose(values, MaxSoftmax().of(logits), atol=0.02)


def naive_distances(train: Answers, groups: np.ndarray, point: np.ndarray) -> list[float]:
    """Squared distances to the group means under the shrunk covariance within the groups."""
    vectors = train.activations.astype(np.float64)
    means = {label: vectors[groups == label].mean(axis=0) for label in sorted(set(groups.tolist()))}
    centred = np.array(
        [vector - means[label] for vector, label in zip(vectors, groups.tolist(), strict=True)]
    )
    covariance, _ = ledoit_wolf(centred, assume_centered=True)
    inverse = np.linalg.inv(covariance)
    return [mahalanobis(point, mean, inverse) ** 2 for mean in means.values()]


def test_mahalanobis_scores_equal_scipy() -> None:
    train, given_answers = simulated(90, seed=8), simulated(25, seed=9)
    points = given_answers.activations.astype(np.float64)
    nearest = np.array([min(naive_distances(train, train.targets, point)) for point in points])
    one = np.zeros_like(train.targets)
    background = np.array([naive_distances(train, one, point)[0] for point in points])
    np.testing.assert_allclose(Mahalanobis().fit(train)(given_answers), -nearest, rtol=1e-8)
    relative = RelativeMahalanobis().fit(train)
    np.testing.assert_allclose(relative(given_answers), background - nearest, rtol=1e-7, atol=1e-9)
    assert relative.learned == {"n": 90}


def test_mahalanobis_scores_take_classes_that_are_missing_from_training() -> None:
    train = simulated(90, seed=8)
    some = train[train.targets != 1]
    point = train.activations[0].astype(np.float64)
    expected = min(naive_distances(some, some.targets, point))
    assert Mahalanobis().fit(some)(train)[0] == pytest.approx(-expected)


@pytest.mark.parametrize("score", [Mahalanobis, RelativeMahalanobis])
def test_mahalanobis_scores_survive_more_dimensions_than_images(score: type[Score]) -> None:
    train = simulated(12, seed=10, width=40)
    assert np.isfinite(score().fit(train)(simulated(5, seed=11, width=40))).all()


@pytest.mark.parametrize("score", [Mahalanobis, RelativeMahalanobis])
def test_mahalanobis_scores_refuse_activations_that_do_not_vary(score: type[Score]) -> None:
    constant = answers(np.zeros((4, 2)), [0, 0, 1, 1], [[1, 2], [1, 2], [3, 4], [3, 4]])
    with pytest.raises(InputError, match=r"^Mahalanobis scores need activations that vary: .*\.$"):
        score().fit(constant)


def test_mahalanobis_scores_take_a_dead_unit() -> None:
    # All deviations are ±1 along one axis: nothing to shrink by, and the covariance has no inverse.
    train = answers(np.zeros((4, 2)), [0, 0, 1, 1], [[1, 0], [3, 0], [5, 0], [7, 0]])
    values = Mahalanobis().fit(train)(answers(np.zeros((3, 2)), activations=[[2, 0], [3, 0], [4, 0]]))
    assert np.isfinite(values).all()
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize("k", [1, 3, 10, 99])
@pytest.mark.parametrize("width", [2, 40])
def test_neighbour_distances_equal_brute_force(k: int, width: int) -> None:
    train, given_answers = simulated(30, seed=12, width=width), simulated(15, seed=13, width=width)
    given_answers.activations[0] = 0  # a vector without a direction is at distance 1 from all
    train.activations[3] *= 100  # lengths do not count
    expected = []
    for point in given_answers.activations.tolist():
        unit = [x / (math.hypot(*point) or 1) for x in point]
        others = [[x / math.hypot(*row) for x in row] for row in train.activations.tolist()]
        expected.append(-sorted(math.dist(unit, other) for other in others)[min(k, 30) - 1])
    scorer = NearestNeighbours(k).fit(train)
    np.testing.assert_allclose(scorer(given_answers), expected, atol=1e-7)
    assert expected[0] == pytest.approx(-1)
    assert str(NearestNeighbours(k)) == f"knn {k}"


@pytest.mark.parametrize("k", [0, -1, 2.0, "3", True, None])
def test_neighbours_refuse_what_is_no_number_of_them(k: object) -> None:
    with pytest.raises(InputError, match=r"^k is .*: it must be a whole number of at least 1\.$"):
        NearestNeighbours(k)  # type: ignore[arg-type]


def noisy(n: int, seed: int) -> Answers:
    """Answers that are right with a probability that grows with the margin of their logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, 3))
    right = rng.random(n) < 0.4 + 0.6 * Margin().of(logits)
    return answers(logits, (logits.argmax(axis=1) + ~right) % 3)


def test_learned_correctness_is_useful_and_calibrated_on_new_answers() -> None:
    scorer = Correctness().fit(noisy(600, seed=1))
    new = noisy(4000, seed=2)
    values = scorer(new)
    assert failure_auroc(values, new.error) > 0.6
    truth = 0.4 + 0.6 * Margin().of(new.logits)
    assert np.abs(values - truth).mean() < 0.06
    assert values.mean() == pytest.approx(1 - new.error.mean(), abs=0.04)
    learned = noisy(600, seed=1)
    assert scorer.learned == {"n": 600, "wrong": int(learned.error.sum())}


def test_learned_correctness_turns_a_misleading_margin_round() -> None:
    given_answers = noisy(800, seed=3)
    upside_down = replace(given_answers, targets=np.where(given_answers.error, given_answers.predictions, 9))
    scorer = Correctness().fit(upside_down)
    assert failure_auroc(scorer(upside_down), upside_down.error) > 0.6
    assert failure_auroc(Margin().of(upside_down.logits), upside_down.error) < 0.4


@pytest.mark.parametrize(("target", "word"), [(0, "right"), (1, "wrong")])
def test_learned_correctness_needs_right_and_wrong_answers(target: int, word: str) -> None:
    one_sided = answers([[2.0, 1.0]] * 5, [target] * 5)
    with pytest.raises(InputError, match=rf"^score=correctness .* all 5 held-out answers are {word}: .*\.$"):
        Correctness().fit(one_sided)
