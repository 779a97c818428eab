"""Augmented pixels are pixels of the reflected image, moved as said, and drawn from one generator."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from device import ON_GPU
from neural_branching.data.augment import Augmentation
from neural_branching.errors import InputError

HEIGHT, WIDTH = 9, 7


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 16, seed: int = 3) -> Tensor:
    """Distinct random images that are not square."""
    return torch.randint(0, 256, (n, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=draw(seed))


def change(augmentation: Augmentation, images: Tensor, generator: torch.Generator) -> Tensor:
    """A batch whose changes the generator draws."""
    return augmentation(images, augmentation.draw(images.shape, generator).to(images.device))


def all_views(image: Tensor, pad: int, flip: bool) -> Iterator[Tensor]:
    """Every shift and mirror image, by padding and cutting."""
    padded = F.pad(image[None].float(), (pad,) * 4, mode="reflect")[0]
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            view = padded[:, top : top + HEIGHT, left : left + WIDTH]
            yield view
            if flip:
                yield view.flip(2)


def bytes_of(image: Tensor) -> bytes:
    return image.contiguous().numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_nothing_asked_for_changes_nothing(dtype: torch.dtype) -> None:
    images = batch().to(dtype)
    result = change(Augmentation(pad=0, flip=False, cutout=0), images, draw())
    assert result.dtype == torch.float32
    assert torch.equal(result, images.float())


@pytest.mark.parametrize(("pad", "flip"), [(0, True), (1, False), (3, True), (6, True)])
def test_shifts_and_mirror_images_are_those_of_the_reflected_image(pad: int, flip: bool) -> None:
    images = batch(24)
    original = images.clone()
    result = change(Augmentation(pad, flip, cutout=0), images, draw())
    assert result.shape == images.shape
    assert torch.equal(images, original)
    for image, changed in zip(images, result, strict=True):
        assert bytes_of(changed) in {bytes_of(view) for view in all_views(image, pad, flip)}


def test_every_shift_and_mirror_image_occurs_equally_often() -> None:
    n = 4000
    image = batch(1)
    result = change(Augmentation(pad=1, flip=True, cutout=0), image.expand(n, -1, -1, -1), draw())
    found = [bytes_of(changed) for changed in result]
    views = {bytes_of(view) for view in all_views(image[0], 1, True)}
    assert len(views) == 18
    for view in views:
        assert abs(found.count(view) - n / 18) < 5 * (n / 18) ** 0.5


def mask(result: Tensor, images: Tensor, pixels: Tensor) -> Tensor:
    """Where an image was filled with the batch's mean colour, bool (n, h, w)."""
    fill = images.float().mean((0, 2, 3)).reshape(3, 1, 1)
    filled = torch.isclose(result, fill, atol=1e-3)
    assert torch.equal(filled | (result == pixels), torch.ones_like(filled))
    assert torch.equal(filled.all(1), filled.any(1))
    return filled.all(1)


@pytest.mark.parametrize("side", [1, 4, 5, 30])
def test_cutout_erases_one_square_per_image(side: int) -> None:
    # Black and white pixels are never the mean.
    images = (batch(500) > 127).float() * 255
    holes = mask(change(Augmentation(0, False, side), images, draw()), images, images)
    rows, columns = holes.any(2), holes.any(1)
    assert torch.equal(holes, rows[:, :, None] & columns[:, None, :])
    for lines, size in ((rows, HEIGHT), (columns, WIDTH)):
        # One run of erased lines, shorter than the square only where the border cuts it off.
        counts = lines.sum(1)
        assert (lines.int().diff(dim=1).abs().sum(1) <= 2).all()
        inside = ~(lines[:, 0] | lines[:, -1])
        assert (counts[inside] == side).all()
        assert counts.min() >= min((side + 1) // 2, size)
        assert counts.max() <= side
        # The square's place is uniform over the image.
        overlaps = [
            sum(0 <= line < size for line in range(middle - side // 2, middle - side // 2 + side))
            for middle in range(size)
        ]
        expected = torch.tensor(overlaps, dtype=torch.float)
        error = expected.std(correction=0) / len(images) ** 0.5
        assert abs(counts.float().mean() - expected.mean()) <= 5 * error + 1e-5


def test_jitter_changes_contrast_and_brightness_within_bounds() -> None:
    images, jitter = batch(400), 0.3
    result = change(Augmentation(0, False, 0, jitter), images, draw())
    pixels = images.float()
    colour = pixels.mean((0, 2, 3), keepdim=True)
    spread = pixels.std((0, 2, 3), keepdim=True)
    factors, shifts = [], []
    for image, changed in zip((pixels - colour) / spread, (result - colour) / spread, strict=True):
        # changed = factor · image + shift, exactly, for all channels and pixels of one image
        x = torch.stack([image.flatten(), torch.ones(image.numel())], dim=1)
        solution = torch.linalg.lstsq(x, changed.flatten()[:, None]).solution
        torch.testing.assert_close(x @ solution, changed.flatten()[:, None], atol=1e-4, rtol=0)
        factors.append(solution[0].item())
        shifts.append(solution[1].item())
    for values, middle in ((torch.tensor(factors), 1), (torch.tensor(shifts), 0)):
        assert (values - middle).abs().max() <= jitter + 1e-4
        assert values.max() - middle > 0.9 * jitter
        assert values.min() - middle < -0.9 * jitter
    correlation = torch.corrcoef(torch.tensor([factors, shifts]))[0, 1]
    assert abs(correlation) < 0.25


def test_the_generator_alone_decides() -> None:
    augmentation = Augmentation(pad=3, flip=True, cutout=4, jitter=0.2)
    images, state = batch(), torch.get_rng_state()
    first, again, other = (change(augmentation, images, draw(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    generator = draw()
    assert not torch.equal(change(augmentation, images, generator), change(augmentation, images, generator))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_result_does_not_depend_on_the_dtype_of_the_images(dtype: torch.dtype) -> None:
    augmentation = Augmentation(pad=2, flip=True, cutout=3, jitter=0.1)
    result = change(augmentation, batch().to(dtype), draw())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, change(augmentation, batch(), draw()))


@ON_GPU
def test_the_choices_do_not_depend_on_the_device() -> None:
    augmentation = Augmentation(pad=2, flip=True, cutout=3, jitter=0.1)
    result = change(augmentation, batch().cuda(), draw())
    assert result.is_cuda
    torch.testing.assert_close(result.cpu(), change(augmentation, batch(), draw()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad": -1}, "pad is -1"),
        ({"pad": 1.5}, r"pad is 1\.5"),
        ({"cutout": -8}, "cutout is -8"),
        ({"flip": "yes"}, "flip is 'yes'"),
        ({"jitter": 1.5}, r"jitter is 1\.5"),
        ({"jitter": -0.1}, r"jitter is -0\.1"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Augmentation(**arguments)


def test_a_shift_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="pad is 7"):
        change(Augmentation(pad=WIDTH, flip=False, cutout=0), batch(), draw())
