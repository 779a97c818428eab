"""Every duplicate is found, and only duplicates, without comparing all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neural_branching.data.inputs import near_duplicates
from neural_branching.data.inputs.near_duplicates import CORRELATION, correlations, find_near_duplicates

Images = NDArray[np.uint8]


def brute(images: Images, mirror: bool) -> dict[tuple[int, int], tuple[float, bool]]:
    """Near pairs of different images, by numpy's own correlation of all with all."""
    both = np.concatenate([images, images[..., ::-1]]).reshape(2 * len(images), -1)
    with np.errstate(invalid="ignore"):
        plain, mirrored = np.split(np.corrcoef(both)[: len(images)], 2, axis=1)
    paths = np.nan_to_num(np.stack([plain, mirrored] if mirror else [plain]), nan=-1)
    return {
        (a, b): (paths[:, a, b].max(), paths[0, a, b] < paths[-1, a, b])
        for a, b in np.argwhere(np.triu(paths.max(axis=0) >= CORRELATION, 1)).tolist()
        if not np.array_equal(images[a], images[b])
    }


def firsts(images: Images) -> list[int]:
    contents = [image.tobytes() for image in images]
    return [contents.index(content) for content in contents]


def groups(count: int, links: list[tuple[int, int]]) -> list[int]:
    group = list(range(count))
    for _ in range(count):
        for a, b in links:
            group[a] = group[b] = min(group[a], group[b])
    return group


@st.composite
def alike(draw: st.DrawFn) -> Images:
    """Images of which many are copies, mirror images or noisy versions of others, or of one value."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, size = draw(st.integers(1, 30)), draw(st.sampled_from([2, 3, 5, 8]))
    smooth = draw(st.booleans())
    images = rng.integers(0, 256, (count, 3, size, size)).astype(np.float64)
    if smooth:
        images = images.mean(axis=3, keepdims=True) + images * rng.uniform(0, 0.2)
    for row in range(count):
        other = rng.integers(count)
        match rng.integers(5):
            case 0:
                images[row] = images[other]
            case 1:
                images[row] = images[other][..., ::-1]
            case 2:
                images[row] = images[other] + rng.normal(0, rng.uniform(0, 40), images[row].shape)
            case 3:
                images[row] = rng.uniform(0.2, 1) * images[other] + rng.integers(40)
    if draw(st.booleans()):
        images[rng.integers(count, size=2)] = rng.integers(256, size=(2, 1, 1, 1))
    return images.clip(0, 255).astype(np.uint8)


def check(images: Images, mirror: bool) -> None:
    found, expected = find_near_duplicates(images, mirror=mirror), brute(images, mirror)
    first = firsts(images)
    assert found.first.tolist() == first
    near = {
        tuple(pair): (value, way)
        for pair, value, way in zip(
            found.pairs.tolist(), found.correlation.tolist(), found.mirrored.tolist(), strict=True
        )
    }
    among_first = {pair: value for pair, value in expected.items() if {*pair} <= {*first}}
    # Where numpy's own rounding decides, both are right.
    for pair in near.keys() ^ among_first.keys():
        assert (near.get(pair) or among_first[pair])[0] == pytest.approx(CORRELATION, abs=1e-12)
    for pair in near.keys() & among_first.keys():
        assert near[pair][0] == pytest.approx(among_first[pair][0], abs=1e-12)
    assert found.pairs.shape == (len(near), 2)
    assert found.complete
    assert found.group.tolist() == groups(len(images), [*near, *enumerate(first)])


@settings(max_examples=60, deadline=None)
@given(images=alike(), mirror=st.booleans())
def test_all_pairs_are_found_as_by_comparing_all(images: Images, mirror: bool) -> None:
    check(images, mirror)


@settings(max_examples=60, deadline=None)
@given(images=alike(), mirror=st.booleans())
def test_so_they_are_with_many_leaves_and_few_directions(images: Images, mirror: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        sizes = {"_LEAF": 2, "_COLUMNS": 3, "_BATCH": 4, "_HELD": 100, "_SAMPLE": 5, "_WIDTH": 3}
        for name, value in {**sizes, "_LEADING": 1}.items():
            patch.setattr(near_duplicates, name, value)
        check(images, mirror)


def pictures(count: int, seed: int = 0) -> Images:
    """Smooth random pictures, whose sketches say much of them, as those of photographs do."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(0, 256, (count, 3, 4, 4)), np.ones((4, 4)))
    return (0.8 * coarse + 0.2 * rng.integers(0, 256, coarse.shape)).astype(np.uint8)


def test_near_the_limit_no_pair_is_missed() -> None:
    images = pictures(600)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, images[:300].shape) * np.linspace(8, 26, 300)[:, None, None, None]
    images[300:] = (images[:300] + noise).clip(0, 255)
    pairs = np.stack([np.arange(300), np.arange(300, 600)])
    correlation = correlations(images, *pairs)
    assert 0.5 < np.mean(correlation >= CORRELATION) < 0.95
    assert np.sum(np.abs(correlation - CORRELATION) < 0.005) > 10
    found = find_near_duplicates(images)
    assert {tuple(pair) for pair in found.pairs.tolist()} == {
        tuple(pair) for pair in pairs.T[correlation >= CORRELATION].tolist()
    }


def test_large_images_and_other_shapes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 200, 120), dtype=np.uint8)
    images[2] = images[0][..., ::-1]
    images[3] = images[1]
    found = find_near_duplicates(images, mirror=True)
    assert found.pairs.tolist() == [[0, 2]]
    assert found.mirrored.tolist() == [True]
    assert found.correlation.tolist() == [1]
    assert found.first.tolist() == [0, 1, 2, 1]
    assert not len(find_near_duplicates(images).pairs)


def test_images_of_one_value_are_duplicates_of_their_equals_alone() -> None:
    images = np.zeros((4, 3, 4, 4), np.uint8)
    images[2:] = 7
    found = find_near_duplicates(images, mirror=True)
    assert found.first.tolist() == [0, 0, 2, 2]
    assert not len(found.pairs)
    assert found.group.tolist() == [0, 0, 2, 2]


def test_many_copies_of_one_image_are_one_group() -> None:
    images = np.repeat(pictures(3), 1000, axis=0)
    found = find_near_duplicates(images, mirror=True)
    assert found.first.tolist() == np.repeat([0, 1000, 2000], 1000).tolist()
    assert not len(found.pairs)
    assert found.group.tolist() == found.first.tolist()


def test_beyond_the_limit_only_links_of_groups_are_kept() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(pictures(4).astype(np.int64), 500, axis=0)
    images = (kinds + rng.integers(-4, 5, kinds.shape)).clip(0, 255).astype(np.uint8)
    order = rng.permutation(len(images))
    images = np.concatenate([images[order], pictures(30, seed=1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "_BATCH", 500)
        found = find_near_duplicates(images, mirror=True, limit=1000)
    assert not found.complete
    assert len(found.pairs) < 20_000  # of 500,000
    kind = order // 500
    first = [int(np.flatnonzero(kind == one)[0]) for one in kind]
    assert found.group.tolist() == [*first, *range(2000, 2030)]


def test_the_share_that_is_done_grows_to_all() -> None:
    shares: list[float] = []
    find_near_duplicates(pictures(2000), mirror=True, progress=shares.append)
    assert len(shares) > 4
    assert shares == sorted(shares)
    assert shares[-1] == 1
