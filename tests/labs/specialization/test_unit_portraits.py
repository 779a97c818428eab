"""Units are driven harder than by any image, look like their filters, and are mapped as they respond."""

import numpy as np
import torch
from torch import nn

from neural_branching.labs.specialization.feature_visualization import visualize
from neural_branching.labs.specialization.partition import Partition
from neural_branching.labs.specialization.unit_figures import cards, scaled
from neural_branching.labs.specialization.unit_portraits import Portraits, least_alike
from neural_branching.networks.staged import StagedNetwork
from neural_branching.networks.standardize import Standardize
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.training.classifier import Classifier

SIZE = 8


def model(network: nn.Module) -> Classifier:
    plain = Standardize((3, 1, 1), ([127.5] * 3, [127.5] * 3))
    return StandardizedNetwork(plain, StagedNetwork({"conv1": network}))


def noise(count: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


def smooth_filters() -> torch.Tensor:
    """Waves of several directions and colours."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    colours = torch.tensor([[1.0, 1, 1], [1, -1, 0.2], [0.2, 0.5, -1]])
    waves = torch.stack([torch.sin(0.9 * x), torch.cos(0.8 * y), torch.sin(0.5 * (x + y))])
    return colours[:, :, None, None] * waves[:, None]


def test_the_optimum_of_a_linear_filter_looks_like_the_filter() -> None:
    filters = smooth_filters()
    linear = nn.Conv2d(3, 3, SIZE, bias=False)
    linear.weight.data.copy_(filters)
    found = visualize(model(linear), "conv1", range(3), noise(200)) - 127.5
    assert nn.functional.cosine_similarity(found.flatten(1), filters.flatten(1)).min() >= 0.9


def test_a_unit_that_is_silent_at_first_is_woken() -> None:
    """Behind a ReLU half of the units answer no noise at all, and have no gradient there."""
    filters = torch.cat([smooth_filters(), -smooth_filters()])
    layer = nn.Conv2d(3, 6, SIZE)
    layer.weight.data.copy_(filters)
    layer.bias.data.zero_()
    units = range(6)
    rectified = model(nn.Sequential(layer, nn.ReLU()))
    start = visualize(rectified, "conv1", units, noise(200), steps=0)
    with torch.inference_mode():
        assert (rectified(start, until="conv1")[units, units] == 0).any()
    found = visualize(rectified, "conv1", units, noise(200)) - 127.5
    assert nn.functional.cosine_similarity(found.flatten(1), filters.flatten(1)).min() >= 0.8


def test_a_unit_that_nothing_wakes_has_a_blank_card() -> None:
    layer = nn.Conv2d(3, 2, SIZE)
    layer.weight.data[1] = 0
    layer.bias.data.fill_(-1)
    found = visualize(model(nn.Sequential(layer, nn.ReLU())), "conv1", [1], noise(50))
    assert found.isnan().all()
    portraits = Portraits(
        responses=np.zeros((5, 2)),
        units=np.arange(2),
        features={"chroma": np.array([0.1, 0.2])},
        owners={0: "a", 1: "a"},
        chosen={"a": [0, 1]},
        driven={0: np.zeros((SIZE, SIZE, 3)), 1: np.full((SIZE, SIZE, 3), np.nan)},
        examples={unit: np.zeros((2, SIZE, SIZE, 3)) for unit in range(2)},
    )
    [axes] = [one for one in cards("conv1", portraits).axes if one.images]
    assert [text.get_text() for text in axes.texts].count("dead") == 1
    picture = np.asarray(axes.images[0].get_array())
    assert np.isfinite(picture).all()
    assert picture[75:130, :60].min() == 1  # blank
    assert picture[:60, :60].max() == 0


def test_a_deep_unit_is_driven_harder_than_by_any_image() -> None:
    torch.manual_seed(0)
    deep = model(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()))
    images, units = noise(2000), [5, 0, 3]
    found = visualize(deep, "conv1", units, images)
    with torch.inference_mode():
        driven = deep(found, until="conv1").mean((2, 3))[range(3), units]
        best = deep(images, until="conv1").mean((2, 3)).amax(0)[units]
    assert (driven > best).all()
    assert found.shape == (3, 3, SIZE, SIZE)
    assert found.min() >= 0
    assert found.max() <= 255
    assert torch.equal(found, visualize(deep, "conv1", units, images))
    assert not torch.equal(found, visualize(deep, "conv1", units, images, seed=1))
    assert all(one.grad is None for one in deep.parameters())


def test_distances_of_a_plane_are_found_again() -> None:
    places = np.random.default_rng(0).normal(size=(12, 2))
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    found, share = scaled(distances)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found, axis=2), distances, atol=1e-9)
    assert share > 1 - 1e-9


def test_units_least_like_other_branches_are_portrayed() -> None:
    partition = Partition.even("conv1", 12, 2)
    feature = np.zeros(12)
    feature[[2, 9]] = 5, -5
    chosen = least_alike(partition, {"chroma": feature})
    assert chosen["0"][0] == 2
    assert chosen["1"][0] == 9
    assert [len(mine) for mine in chosen.values()] == [4, 4]
