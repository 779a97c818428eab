"""The embedded source draws the same learnable images on every call, whatever else is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources import glyphs
from neural_branching.data.sources.glyphs import CLASSES, FONTS, Glyphs
from neural_branching.data.sources.source import Source
from neural_branching.data.split import TEST
from neural_branching.errors import InputError

SIZE = 32
SOME = ("lower_o", "digit_0", "upper_O")


@pytest.fixture
def hashes(tmp_path: Path) -> FileHashes:
    return FileHashes(tmp_path)


def test_offers_34_classes_that_are_all_distinct(hashes: FileHashes) -> None:
    source: Source = Glyphs()
    assert source.class_names(hashes) == CLASSES
    assert len(set(CLASSES)) == 34
    assert {"digit_9", "upper_B", "lower_z"} <= set(CLASSES)


@pytest.mark.parametrize("size", [8, SIZE])
@pytest.mark.parametrize("test_per_class", [0, 2])
def test_shapes_types_and_counts(size: int, test_per_class: int) -> None:
    images = Glyphs(train_per_class=3, test_per_class=test_per_class, image_size=size).read(SOME)
    count = 3 * (3 + test_per_class)
    assert images.content.shape == (count, 3, size, size)
    assert images.content.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert images.split.dtype == np.int8
    assert images.skipped == []
    for label in range(3):
        own = (images.split == TEST)[images.labels == label]
        assert (~own).sum() == 3
        assert own.sum() == test_per_class


def test_same_call_gives_the_same_bytes_and_another_seed_does_not() -> None:
    first, again, other = (Glyphs(3, 2, seed).read(SOME).content for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert not (first == other).all(axis=(1, 2, 3)).any()


def test_no_image_occurs_twice() -> None:
    pixels = Glyphs(4, 4).read(CLASSES).content
    assert len({image.tobytes() for image in pixels}) == len(pixels)


def test_an_image_does_not_depend_on_the_other_classes() -> None:
    source = Glyphs(3, 2)
    everything = source.read(CLASSES)
    some = source.read(SOME)
    for label, name in enumerate(SOME):
        expected = everything.content[everything.labels == CLASSES.index(name)]
        np.testing.assert_array_equal(some.content[some.labels == label], expected)


def test_an_image_does_not_depend_on_how_many_follow_it() -> None:
    few, many = Glyphs(3, 2).read(SOME), Glyphs(40, 30).read(SOME)
    for is_test, count in ((False, 3), (True, 2)):
        for label in range(len(SOME)):
            first, same = (
                images.content[(images.labels == label) & ((images.split == TEST) == is_test)][:count]
                for images in (few, many)
            )
            np.testing.assert_array_equal(first, same)


def test_every_font_draws_every_character_whole_and_unlike_the_others() -> None:
    for name, font in zip(FONTS, glyphs._fonts(glyphs.FONT_SIZE * SIZE), strict=True):
        stamps = [np.asarray(glyphs._stamp(label[-1], font, SIZE)) for label in CLASSES]
        assert len({stamp.tobytes() for stamp in stamps}) == len(CLASSES), name
        for label, stamp in zip(CLASSES, stamps, strict=True):
            assert stamp.max() > 128, (name, label)
            assert not stamp[[0, -1]].any(), (name, label)
            assert not stamp[:, [0, -1]].any(), (name, label)
            columns = np.flatnonzero(stamp.any(axis=0))
            assert abs(columns[0] + columns[-1] - (SIZE - 1)) <= 1, (name, label)


def test_glyphs_are_lighter_than_backgrounds_in_every_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "NOISE", 0.0)
    background, glyph = (
        glyphs._draw([Image.new("L", (SIZE, SIZE), ink)], 50, np.random.default_rng(0)) for ink in (0, 255)
    )
    assert background.max() <= 0.45 * 255 + 0.5
    assert background.std(axis=(2, 3)).min() > 0
    # The margin is where a stamp that was moved or shrunk leaves off.
    assert glyph[:, :, 8:-8, 8:-8].min() >= 0.5 * 255 - 0.5


def test_signature_tells_sources_apart_and_is_plain_json(hashes: FileHashes) -> None:
    sources = [Glyphs(4, 2, 0), Glyphs(5, 2, 0), Glyphs(4, 3, 0), Glyphs(4, 2, 1)]
    signatures = [source.signature(SOME, hashes) for source in sources]
    assert len({json.dumps(signature, sort_keys=True) for signature in signatures}) == 4
    assert signatures[0] == json.loads(json.dumps(Glyphs(4, 2, 0).signature(SOME, hashes)))
    assert {"recipe", "matplotlib", "pillow"} <= signatures[0].keys()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("train_per_class", 0),
        ("train_per_class", 2.5),
        ("train_per_class", True),
        ("test_per_class", -1),
        ("test_per_class", "many"),
        ("seed", -1),
        ("seed", None),
    ],
)
def test_bad_arguments_are_refused_by_name(argument: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"{argument} is {value!r}"):
        Glyphs(**{argument: value})  # type: ignore[arg-type]


def test_unknown_class_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.classes is 'upper_A'"):
        Glyphs(1, 1).read(("digit_0", "upper_A"))
