"""Preprocessing shows a network what Pillow and timm would show it."""

import numpy as np
import pytest
import torch
from PIL import Image

from neural_branching.errors import InputError
from neural_branching.networks.preprocessing import Preprocessing

HALF = (0.5, 0.5, 0.5)
PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def pixels(side: int, seed: int = 0) -> np.ndarray:
    """A smooth image, (side, side, 3): beyond its ends, where curves overshoot, Pillow cuts off twice."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(60, 200, (6, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def shown(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """What the network sees, as values 0 … 255."""
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    seen = preprocessing(x)[0].numpy().transpose(1, 2, 0)
    return np.asarray(255 * (seen * preprocessing.values["std"] + preprocessing.values["mean"]))


@pytest.mark.parametrize("interpolation", PILLOW)
@pytest.mark.parametrize(("side", "size"), [(32, 96), (96, 32), (50, 33)])
def test_images_are_resized_as_by_pillow(interpolation: str, side: int, size: int) -> None:
    image = pixels(side)
    theirs = np.asarray(Image.fromarray(image).resize((size, size), PILLOW[interpolation]))
    mine = shown(image, Preprocessing(size, HALF, HALF, interpolation))
    assert np.abs(mine - theirs).max() <= 2  # Pillow rounds to whole values, twice


def test_it_sees_what_a_model_of_timm_was_evaluated_with() -> None:
    from timm.data import create_transform

    image = pixels(80)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = create_transform(47, mean=mean, std=std, interpolation="bicubic", crop_pct=0.9)
    seen = Preprocessing(47, mean, std, "bicubic", 0.9)(
        torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    )
    assert seen.shape == (1, 3, 47, 47)
    assert (seen[0] - theirs(Image.fromarray(image))).abs().max() < 0.03  # a deviation is 58 grey values


def test_an_image_of_the_right_size_is_only_standardised() -> None:
    image = pixels(32)
    preprocessing = Preprocessing(32, HALF, (0.25, 0.5, 1.0))
    seen = preprocessing(torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32)))[0]
    expected = (image / 255 - 0.5) / np.array([0.25, 0.5, 1.0])
    assert np.allclose(seen.permute(1, 2, 0).numpy(), expected, atol=1e-5)
    assert not preprocessing.state_dict()  # constants are no weights


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"size": 4}, "size is 4: it must be a whole number of at least 8."),
        ({"crop": 0}, "crop is 0: it must be a number within (0, 1]."),
        ({"interpolation": "cubic"}, "interpolation is 'cubic', which is unknown: did you mean 'bicubic'?"),
        ({"mean": (0.5, 0.5)}, "mean has 2 numbers: it must have one for each of red, green, blue."),
        ({"std": (0, 1, 1)}, "std is 0: it must be a number within (0, 1]."),
    ],
)
def test_values_outside_their_ranges_are_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as error:
        Preprocessing(**{"size": 32, "mean": HALF, "std": HALF, **changed})  # type: ignore[arg-type]
    assert words in str(error.value)
