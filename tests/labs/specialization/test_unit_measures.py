"""Features of filters and units, similarities, singular vectors: closed forms."""

import numpy as np
import pytest
import torch

from neural_branching.errors import InputError
from neural_branching.labs.consistency import consistency, match_branches
from neural_branching.labs.permutation_tests import compare_features
from neural_branching.labs.specialization.filter_features import (
    FILTER_FEATURES,
    chroma,
    dead_filters,
    frequency,
    orientation,
)
from neural_branching.labs.specialization.measurement import measure_stage
from neural_branching.labs.specialization.partition import Partition
from neural_branching.labs.specialization.similarity import (
    compare_similarity,
    mean_correlation,
    similarity_of,
    treves_rolls,
)
from neural_branching.labs.specialization.stimuli import RADII, VARIANTS, arcs, grey, lines
from neural_branching.labs.specialization.unit_responses import class_selectivity, dead_units, respond
from neural_branching.labs.specialization.weight_svd import connections, singular_vectors
from neural_branching.networks.branched import BranchedNet
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.multiple_tests import holm


def gratings(cycles: float, count: int, generator: np.random.Generator) -> np.ndarray:
    """Grey gratings of random orientation."""
    y, x = np.mgrid[:7, :7]
    angles = generator.uniform(0, np.pi, count)
    waves = [np.cos(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle))) for angle in angles]
    return np.repeat(np.stack(waves)[:, None], 3, 1) + 0.05 * generator.normal(size=(count, 3, 7, 7))


def test_chroma_is_0_of_grey_and_1_of_pure_colour() -> None:
    generator = np.random.default_rng(0)
    grey = np.repeat(generator.normal(size=(4, 1, 5, 5)), 3, 1)
    pure = generator.normal(size=(4, 3, 5, 5))
    pure -= pure.mean(1, keepdims=True)
    assert chroma(grey) == pytest.approx(np.zeros(4))
    assert chroma(pure) == pytest.approx(np.ones(4))
    with pytest.raises(InputError, match="no chroma"):
        chroma(grey[:, :1])


def test_frequency_and_orientation_of_gratings() -> None:
    generator = np.random.default_rng(0)
    low, high = gratings(0.1, 6, generator), gratings(0.35, 6, generator)
    assert frequency(low).max() < frequency(high).min()
    spot = np.zeros((1, 3, 7, 7))
    spot[:, :, 3, 3] = 1  # a white spectrum
    assert orientation(spot)[0] == pytest.approx(0, abs=0.01)  # of an even number of cells
    assert orientation(high).min() > 0.5
    y, x = np.mgrid[-3:4, -3:4]
    blob = np.repeat(np.exp(-(x**2 + y**2) / 4)[None, None], 3, 1)
    assert orientation(np.concatenate([blob, np.ones((1, 3, 7, 7))])) == pytest.approx([0, 0], abs=0.02)


def test_a_planted_split_of_frequency_is_called_frequency() -> None:
    generator = np.random.default_rng(1)
    weights = np.concatenate([gratings(0.12, 8, generator), gratings(0.3, 8, generator)])
    table = np.stack([feature(weights) for feature in FILTER_FEATURES.values()], 1)
    each, _ = compare_features(table, np.repeat([0, 1], 8), 1999)
    corrected = dict(zip(FILTER_FEATURES, holm([one.p for one in each]), strict=True))
    assert min(corrected, key=corrected.__getitem__) == "frequency"
    assert corrected["frequency"] <= 3 / 2000 + 1e-12


def test_faint_filters_and_silent_units_are_dead() -> None:
    weights = np.ones((5, 3, 3, 3))
    weights[2] *= 0.2
    assert dead_filters(weights).tolist() == [False, False, True, False, False]
    answers = np.random.default_rng(0).normal(size=(10, 3))
    answers[:, 1] = 4.0
    assert dead_units(answers).tolist() == [False, True, False]


def test_class_selectivity_is_1_of_a_unit_for_one_class() -> None:
    labels = np.repeat([0, 1, 2], 4)
    answers = np.stack([labels == 1, np.ones(12)], 1).astype(np.float64)
    assert class_selectivity(answers, labels) == pytest.approx([1, 0])


def test_similarity_equals_its_definition_on_kernels() -> None:
    generator = np.random.default_rng(0)
    answers = generator.normal(size=(20, 7))
    partition = Partition.of("s", {"a": [0, 1, 2], "b": [3, 4, 5, 6]}, 7)
    centred = answers - answers.mean(0)
    one, other = (centred[:, units] @ centred[:, units].T for units in partition.branches.values())
    wanted = (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())
    assert similarity_of(centred.T @ centred, partition) == pytest.approx(wanted)
    twins = np.concatenate(
        [answers[:, :3], answers[:, :3] @ np.linalg.qr(generator.normal(size=(3, 3)))[0]], 1
    )
    equal = Partition.of("s", {"a": [0, 1, 2], "b": [3, 4, 5]}, 6)
    assert compare_similarity(twins, equal, 19).value == pytest.approx(1)


def test_branches_that_see_different_things_are_less_alike_than_random_halves() -> None:
    generator = np.random.default_rng(0)
    answers = np.repeat(generator.normal(size=(200, 2)), 6, 1) + 0.3 * generator.normal(size=(200, 12))
    partition = Partition.even("s", 12, 2)
    tested = compare_similarity(answers, partition, 99)
    assert tested.value < 0.1 < tested.null_mean
    assert tested.p == 1 / 100
    within, between = mean_correlation(answers, partition)
    assert within > 0.8 > 0.2 > between


def test_activity_is_shared_or_not() -> None:
    assert treves_rolls(np.full((3, 8), 2.0)) == pytest.approx(1)
    assert treves_rolls(np.eye(8)) == pytest.approx(1 / 8)
    assert treves_rolls(np.concatenate([np.eye(8), np.zeros((1, 8))])) == pytest.approx(1 / 8)


def test_branches_of_two_seeds_are_matched_by_what_they_are() -> None:
    one = np.array([[0.0, 0.0], [5.0, 5.0], [9.0, 0.0]])
    assert match_branches(one, one[[2, 0, 1]] + 0.1).tolist() == [1, 2, 0]


def test_seeds_that_divide_the_work_alike_are_told_from_those_that_do_not() -> None:
    generator = np.random.default_rng(0)
    features = np.array([[0.0, 1.0], [1.0, 0.0]])
    work = np.array([[0.5] * 5 + [0.1] * 5, [0.1] * 5 + [0.5] * 5])
    orders = [generator.permutation(2) for _ in range(6)]
    alike = consistency(
        [features[o] for o in orders], [work[o] + generator.normal(0, 0.02, (2, 10)) for o in orders], 500
    )
    assert alike.value > 0.95
    assert alike.p <= 0.05
    other = consistency([features[o] for o in orders], [work[generator.permutation(2)] for _ in orders], 500)
    assert other.value < alike.value


def test_a_hidden_branch_is_in_the_first_centred_vector() -> None:
    generator = np.random.default_rng(0)
    side = np.repeat([0.0, 1.0], 8)
    weights = generator.normal(size=(20, 16, 3, 3)) * 0.2
    weights[:10, 8:] += 1
    weights[10:, :8] += 1
    features = {"side": side, "noise": generator.normal(size=16)}
    found = singular_vectors(connections(weights, 16), features, 199)
    first = found["centred"]
    assert first.features["side"].value > 0.8
    assert first.features["side"].p <= 0.02
    assert first.features["noise"].p > 0.05
    with pytest.raises(InputError, match="grouped"):
        connections(weights[:, :8], 16)


def test_only_centred_columns_show_what_all_of_the_next_layer_has_in_common() -> None:
    """Two units of each kind; one column is large for everybody, and says nothing of the kinds."""
    kinds = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    table = np.stack([100 + np.array([1, 0, 1, 0, 0, 1.0]), 3 * kinds, 2 * kinds], 1)
    found = singular_vectors(table, {"kind": kinds}, 50)
    assert found["centred"].features["kind"].value == pytest.approx(1)
    assert found["centred"].share > 0.9
    assert found["centred"].vector.sum() == pytest.approx(0, abs=1e-9)
    assert abs(found["raw"].vector.sum()) > 2


class Answering:
    """A model whose units answer chosen images, each with a number of its own."""

    device = torch.device("cpu")

    def __init__(self, answers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.answers = answers

    def eval(self) -> "Answering":
        return self

    def walk(self, x: torch.Tensor, stages: tuple[str, ...]):
        units = torch.zeros(len(x), 3)
        for images, values in self.answers:
            same = (x[:, None] == images[None]).flatten(2).all(2)
            units += same.float() @ values
        return [(stages[0], units)]


def test_responses_to_curves_and_to_colour_are_what_they_are_defined_as() -> None:
    images = torch.randint(0, 256, (2, 3, 24, 24), generator=torch.Generator().manual_seed(0)).byte()
    curved, straight = torch.zeros(len(arcs(24)), 3), torch.zeros(len(lines(24)), 3)
    curved[5, 0] = 1.0  # one arc alone
    curved[:, 1], straight[2, 1] = 0.25, 0.75
    straight[:, 2] = 2.0
    coloured, colourless = torch.tensor([[4.0, 0, 1], [2, 0, 1]]), torch.tensor([[1.0, 0, 1], [1, 0, 1]])
    model = Answering(
        [(arcs(24), curved), (lines(24), straight), (images, coloured), (grey(images), colourless)]
    )
    answers = respond(model, images, ("here",))["here"]  # type: ignore[arg-type]
    assert np.array_equal(answers.means, coloured)
    assert answers.colour == pytest.approx([(3 + 1) / 6, 0, 0])
    # The best orientation of each radius, averaged: 1 of three radii for the first unit, against no line.
    assert len(RADII) == 3
    assert answers.curves == pytest.approx([1, (0.25 - 0.75) / 1, -1])
    straight[:, 0] = 1 / 3  # as much as the arcs on average, and less than the best of them
    assert respond(model, images, ("here",))["here"].curves[0] == pytest.approx(0)  # type: ignore[arg-type]


def test_filters_that_are_faint_are_left_out_whatever_their_units_answer() -> None:
    torch.manual_seed(0)
    model = StandardizedNetwork(Standardize((3, 1, 1)), BranchedNet((3, 12, 12), 3, width=16)).eval()
    [first, _] = model.network.stages["conv1"].weights
    with torch.no_grad():
        first[0] *= 1e-3
    images = torch.randint(0, 256, (60, 3, 12, 12), generator=torch.Generator().manual_seed(0)).byte()
    answers = respond(model, images, ("conv1",))["conv1"]
    assert not dead_units(answers.means).any()
    partition = Partition.even("conv1", 16, 2)
    numbers, features = measure_stage(model, partition, answers, np.arange(60) % 3, 20, 20, seed=0)
    assert numbers["dead"] == 1
    assert numbers["units"] == 15
    assert all(len(values) == 16 for values in features.values())


def test_stimuli_are_what_they_are_called() -> None:
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    grey, blurred = VARIANTS["grey"](images), VARIANTS["blurred"](images)
    assert grey.dtype == blurred.dtype == torch.uint8
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert blurred.float().std() < images.float().std()
    assert arcs(32).shape == (24, 3, 32, 32)
    assert lines(32).shape == (8, 3, 32, 32)
    ink = (arcs(32)[:, 0].float() - 127).sum((1, 2))
    assert ink.std() < 0.2 * ink.mean()  # as much of each


@pytest.mark.thorough
def test_similarity_of_random_branches_is_low_no_more_often_than_by_chance() -> None:
    generator, partition = np.random.default_rng(0), Partition.even("units", 12, 2)
    p = [compare_similarity(generator.normal(size=(24, 12)), partition, 39, seed).p for seed in range(2000)]
    assert 0.035 <= np.mean(np.array(p) <= 0.05) <= 0.065


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["raw", "centred"])
def test_a_random_vector_goes_with_weights_no_more_often_than_by_chance(kind: str) -> None:
    generator, p = np.random.default_rng(0), []
    for seed in range(2000):
        table, feature = np.abs(generator.normal(size=(12, 8))), {"feature": generator.normal(size=12)}
        p.append(singular_vectors(table, feature, 39, seed)[kind].features["feature"].p)
    assert 0.035 <= np.mean(np.array(p) <= 0.05) <= 0.065
