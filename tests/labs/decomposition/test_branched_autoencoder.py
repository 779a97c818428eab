"""The branched autoencoder: parts add up, branches do not communicate, divisions add up, losses."""

import numpy as np
import pytest
import torch

from neural_branching.errors import InputError
from neural_branching.labs.decomposition.autoencoder import Autoencoder
from neural_branching.labs.decomposition.branched_autoencoder import NORMS, BranchedAutoencoder
from neural_branching.labs.decomposition.learning_directions import follow, steps
from neural_branching.training.recipe import Recipe

SHAPE = (3, 8, 8)
IMAGES = torch.randint(0, 256, (6, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(6, dtype=torch.int64)


def autoencoder(
    separate: bool = False, noise: float = 0.0, beta: float = 0.0, **options: object
) -> Autoencoder:
    torch.manual_seed(0)
    network = BranchedAutoencoder(SHAPE, **{"width": 4, "depth": 2, "latent": 5, **options})  # type: ignore[arg-type]
    module = Autoencoder(network, Recipe(1, 4, 1e-3), separate=separate, noise=noise, beta=beta)
    module.standardize.learn(IMAGES)
    return module.eval()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("stride", "depth"), [(2, 1), (2, 3), (4, 1)])
def test_every_design_gives_parts_of_the_images_shape(norm: str, stride: int, depth: int) -> None:
    size = 16
    network = BranchedAutoencoder((3, size, size), 2, 4, depth, 5, stride, norm)
    parts, divergence = network(torch.randn(3, 3, size, size))
    assert parts.shape == (3, 2, 3, size, size)
    assert not divergence.any()


def test_branches_pass_nothing_to_one_another() -> None:
    module = autoencoder()
    before = module.parts(IMAGES)
    with torch.no_grad():
        for weights in module.network.branches[1].parameters():
            weights.add_(1)
    after = module.parts(IMAGES)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.allclose(before[:, 1], after[:, 1])


def test_a_mean_is_the_sum_divided() -> None:
    torch.testing.assert_close(autoencoder(combine="mean").parts(IMAGES), autoencoder().parts(IMAGES) / 3)


def test_random_parts_of_one_branch_add_up_to_its_output() -> None:
    module = autoencoder(branches=1, width=6)
    parts = module.divided(IMAGES, torch.tensor([0, 1, 2, 0, 1, 1]), 3)
    torch.testing.assert_close(parts.sum(1), module.parts(IMAGES)[:, 0])
    with pytest.raises(InputError, match="divided by them already"):
        autoencoder().divided(IMAGES, torch.zeros(4, dtype=torch.int64), 2)


def test_together_the_sum_is_trained_and_separately_every_branch() -> None:
    module, alone = autoencoder(), autoencoder(separate=True)
    target = module.standardized(IMAGES)
    error = (module.parts(IMAGES).sum(1) - target).square().mean()
    torch.testing.assert_close(module.batch_loss(IMAGES, LABELS).detach(), error)
    each = (3 * alone.parts(IMAGES) - target[:, None]).square().mean((0, 2, 3, 4)).sum()
    torch.testing.assert_close(alone.batch_loss(IMAGES, LABELS).detach(), each)


def test_branches_trained_alone_have_gradients_of_their_own() -> None:
    alone = autoencoder(separate=True)
    alone.batch_loss(IMAGES, LABELS).backward()
    single = autoencoder(separate=True)
    with torch.no_grad():
        for weights in single.network.branches[1].parameters():
            weights.zero_()
    single.batch_loss(IMAGES, LABELS).backward()
    for one, other in zip(
        alone.network.branches[0].parameters(), single.network.branches[0].parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad)


def test_noise_is_on_what_is_seen_and_not_on_what_is_to_be_given() -> None:
    plain, noisy = autoencoder(), autoencoder(noise=0.5)
    assert noisy.batch_loss(IMAGES, LABELS) != plain.batch_loss(IMAGES, LABELS)
    torch.testing.assert_close(noisy.parts(IMAGES), plain.parts(IMAGES))


def test_the_divergence_is_that_of_normal_distributions() -> None:
    network = autoencoder(beta=1.0, variational=True).network
    x = torch.randn(4, *SHAPE)
    _, divergence = network(x)
    expected = torch.zeros(4)
    for branch in network.branches:
        mean, log_variance = branch.encoder(x).chunk(2, 1)
        mine = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        expected += torch.distributions.kl_divergence(mine, standard).sum(1)
    torch.testing.assert_close(divergence, expected)
    assert not torch.equal(network(x, sample=True)[0], network(x)[0])


def test_grey_stays_grey_and_pixels_come_back() -> None:
    module = autoencoder()
    grey = IMAGES[:, :1].expand(-1, 3, -1, -1)
    standardized = module.standardized(grey)
    assert torch.equal(standardized[:, 0], standardized[:, 1])
    torch.testing.assert_close(module.pixels(module.standardized(IMAGES)), IMAGES / 255)


@pytest.mark.parametrize("norm", NORMS)
def test_steps_are_what_small_steps_of_descent_change(norm: str) -> None:
    module = autoencoder(norm=norm)
    changes, before, rate = steps(module, IMAGES), module.parts(IMAGES), 1e-3
    module.batch_loss(IMAGES, LABELS).backward()
    with torch.no_grad():
        for weights in module.network.parameters():
            weights += rate * weights.grad
    moved = ((module.parts(IMAGES) - before) / rate).numpy()
    assert np.corrcoef(moved.ravel(), changes.ravel())[0, 1] > 0.999
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(changes), rel=0.05)


def test_epochs_are_followed_and_the_last_stays() -> None:
    module = autoencoder()
    epochs = [{k: v.clone() for k, v in autoencoder().state_dict().items()} for _ in range(3)]
    found = follow(module, epochs, IMAGES)
    assert {name: len(values) for name, values in found.items()} == {"outputs": 3, "gradients": 3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"branches": 0}, "branches is 0"),
        ({"stride": 1}, "stride is 1"),
        ({"depth": 4}, "8 is no multiple"),
        ({"norm": "layer"}, "norm is 'layer'"),
        ({"combine": "product"}, "combine is 'product'"),
        ({"latent": 0}, "latent is 0"),
    ],
)
def test_what_cannot_be_made_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        autoencoder(**options)  # type: ignore[arg-type]


def test_without_a_dense_code_a_branch_keeps_its_last_maps() -> None:
    module = autoencoder(latent=None)
    assert module.network(torch.randn(2, *SHAPE))[0].shape == (2, 3, *SHAPE)
    assert not [one for one in module.network.modules() if isinstance(one, torch.nn.Linear)]
    with pytest.raises(InputError, match="latent is None: a variational autoencoder draws codes"):
        autoencoder(latent=None, variational=True)
