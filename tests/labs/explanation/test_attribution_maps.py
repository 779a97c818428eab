"""Maps against closed forms, and energies and areas against what they are defined to be."""

import numpy as np
import pytest
import torch
from torch import Tensor

from neural_branching.labs.explanation.attribution_maps import (
    areas,
    gradient,
    integrated_gradients,
    low_pass,
    noise,
    of_energy,
    sign_gradient,
)

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(5, 3, 8, 8, generator=GENERATOR)
WEIGHTS = torch.randn(4, 3 * 8 * 8, generator=GENERATOR)
CLASSES = torch.tensor([0, 1, 2, 3, 1])


def linear(x: Tensor) -> Tensor:
    return x.flatten(1) @ WEIGHTS.T


def log_probability(x: Tensor) -> Tensor:
    return linear(x).log_softmax(1).gather(1, CLASSES[:, None])[:, 0]


def test_the_gradient_of_a_linear_classifier_is_its_weights_less_their_mean() -> None:
    expected = WEIGHTS[CLASSES] - linear(IMAGES).softmax(1) @ WEIGHTS
    found = gradient(linear, IMAGES, CLASSES)
    torch.testing.assert_close(found, expected.view_as(IMAGES), atol=1e-5, rtol=1e-4)
    assert torch.equal(sign_gradient(linear, IMAGES, CLASSES), found.sign())


def test_integrated_gradients_add_up_to_the_difference_of_log_probabilities() -> None:
    found = integrated_gradients(linear, IMAGES, CLASSES, steps=2000).sum((1, 2, 3))
    expected = log_probability(IMAGES) - log_probability(torch.zeros_like(IMAGES))
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=1e-3)


def test_a_low_pass_keeps_slow_waves_and_drops_fast_ones() -> None:
    position = torch.arange(16) / 16
    slow, fast = (torch.cos(2 * torch.pi * count * position).expand(1, 3, 16, 16) for count in (1, 5))
    torch.testing.assert_close(low_pass(slow + fast), slow.contiguous(), atol=1e-5, rtol=0)


def test_noise_comes_of_its_seed() -> None:
    assert torch.equal(noise(IMAGES, 3), noise(IMAGES, 3))
    assert not torch.equal(noise(IMAGES, 3), noise(IMAGES, 4))


@pytest.mark.parametrize("energy", [0.001, 0.1, 1.0])
def test_maps_have_the_energy_that_is_asked_for(energy: float) -> None:
    maps = noise(IMAGES, 0) * torch.tensor([1e-3, 1.0, 50.0, 0.0, 2.0])[:, None, None, None]
    scaled = of_energy(maps, IMAGES, energy).square().sum((1, 2, 3)) / IMAGES.square().sum((1, 2, 3))
    torch.testing.assert_close(scaled, torch.tensor([energy, energy, energy, 0.0, energy]))


def test_an_area_is_1_if_nothing_is_lost_and_a_triangle_if_the_last_is() -> None:
    right = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert areas(right, [0.01, 0.04]).tolist() == pytest.approx([1.0, 0.75])
