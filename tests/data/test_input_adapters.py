"""What input adapters say of an example: shape, type, statistics, blank batches, and what is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural_branching.data.inputs.adapter import InputAdapter
from neural_branching.data.inputs.image_inputs import IMAGENET_MEAN, IMAGENET_STD, ImageInputs
from neural_branching.data.inputs.vector_inputs import VectorInputs
from neural_branching.errors import InputError

IMAGES, VECTORS = ImageInputs(8), VectorInputs({"early": 2, "late": 3})


@pytest.mark.parametrize("adapter", [IMAGES, VECTORS])
def test_a_blank_batch_is_a_batch(adapter: InputAdapter) -> None:
    blank = adapter.blank(3)
    assert blank.shape == (3, *adapter.shape)
    assert torch.equal(adapter.checked(blank), blank)
    assert torch.equal(adapter.checked(blank.numpy()), blank)


def test_what_is_no_batch_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^images have shape \(1, 3, 9, 8\) .*: give uint8 of shape \(n, 3, 8, 8\)"
    ):
        IMAGES.checked(np.zeros((1, 3, 9, 8), np.uint8))
    with pytest.raises(InputError, match=r"^images .* type torch\.float32"):
        IMAGES.checked(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"^vectors .*: give float32 of shape \(n, 5\)"):
        VECTORS.checked(np.zeros((1, 5)))


def test_statistics() -> None:
    assert IMAGES.statistics("channel") == ((3, 1, 1), None)
    assert IMAGES.statistics("pixel") == ((3, 8, 8), None)
    assert IMAGES.statistics("imagenet") == ((3, 1, 1), (IMAGENET_MEAN, IMAGENET_STD))
    assert VECTORS.statistics("none") == ((), ([0.0], [1.0]))
    assert VECTORS.statistics("element") == ((5,), None)
    with pytest.raises(InputError, match="normalize is 'pixel', which is unknown: allowed are none, element"):
        VECTORS.statistics("pixel")


def test_vectors_are_alike_only_if_they_are_equal() -> None:
    rows = np.array([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5.001], [1, 2, 3, 4, 5]], np.float32)
    found = VECTORS.find_duplicates(rows, lambda share: None)
    assert found.first.tolist() == found.group.tolist() == [0, 1, 0]
    assert len(found.pairs) == 0
    assert VECTORS.likeness == {"correlation": None, "mirror": False}


def test_images_are_also_files_and_pictures_of_pillow(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    picture, file = Image.fromarray(pixels), tmp_path / "a.png"
    picture.save(file)
    inputs, expected = ImageInputs(8), pixels.transpose(2, 0, 1)
    for given in (file, str(file), picture):
        np.testing.assert_array_equal(inputs.checked(given), expected[None])
        np.testing.assert_array_equal(inputs.checked([given, expected]), np.stack([expected] * 2))
        np.testing.assert_array_equal(inputs.checked(one for one in [given]), expected[None])
    assert inputs.checked([]).shape == (0, 3, 8, 8)
    for wrong in (None, 5, b"abc", {"a": 1}, tmp_path / "none.png"):
        with pytest.raises(InputError, match=r"is no image|cannot be decoded"):
            inputs.checked(wrong)
    with pytest.raises(InputError, match="cannot be read as vectors: give float32 of shape"):
        VectorInputs({"a": 2}).checked(None)
