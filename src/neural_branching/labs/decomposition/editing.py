"""Images put together anew: from chosen branches, with a branch of another image, with branches scaled."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor

from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.errors import InputError
from neural_branching.files.reading import read_json, read_yaml
from neural_branching.labs.decomposition.autoencoder import Autoencoder
from neural_branching.labs.decomposition.decomposition_spec import DecompositionSpec
from neural_branching.labs.decomposition.ensure_autoencoder import ensure_autoencoder, load_autoencoder
from neural_branching.labs.decomposition.run_decomposition import widened
from neural_branching.selection.array_types import Float32, Shaped
from neural_branching.store.artifact_store import store_at
from neural_branching.store.run_folders import CONFIG, RESULTS, outputs_of


def open_autoencoder(run: str | Path, seed: int | None = None) -> Autoencoder:
    """The branched autoencoder of a finished run, from the store beside it; nothing is trained.

    Args:
        run: folder of a run of ``decompose``.
        seed: of the network; None for the first.

    Raises:
        InputError: if the folder has no finished run, no network has that seed, or the store has lost it.
    """
    folder = Path(run)
    results = read_json(folder / RESULTS)
    if results.get("command") != "decompose" or results.get("status") != "completed":
        raise InputError(f"{folder} is no finished run of decompose.")
    spec = DecompositionSpec.from_config(OmegaConf.create(read_yaml(folder / CONFIG)), trusted=False)
    first = widened(spec)
    chosen = first.seed if seed is None else seed
    if str(chosen) not in results["seeds"]:
        raise InputError(f"seed is {seed!r}: {folder} has {', '.join(results['seeds'])}.")
    store, one = store_at(outputs_of(folder.absolute(), results) / "store"), replace(first, seed=chosen)
    with store.only_finding():
        table = ensure_data(spec.data, store)
        weights = ensure_autoencoder(store, spec.data, table, spec.compute, one, spec.classes)
    return load_autoencoder(one, spec.data.input.shape, weights)


def reconstruct(
    module: Autoencoder, images: Shaped[Tensor, "n c h w"], scales: Mapping[int, float] | None = None
) -> Float32[Tensor, "n c h w"]:
    """Images as sums of what branches contribute, each by a factor.

    Args:
        module: the autoencoder.
        images: raw images, uint8.
        scales: branch → factor of its part, 0 to leave it out; those that are not named count once.

    Returns:
        Brightness within [0, 1]; what lies beyond is cut off.

    Raises:
        InputError: for an unknown branch, and images that are not as the network was trained on.
    """
    parts = module.parts(_checked(images, module))
    factors = torch.ones(parts.shape[1])
    for branch, factor in (scales or {}).items():
        factors[_branch(branch, module)] = factor
    return module.pixels((parts * factors[:, None, None, None]).sum(1))


def swap(
    module: Autoencoder,
    images: Shaped[Tensor, "n c h w"],
    others: Shaped[Tensor, "n c h w"],
    branch: int,
) -> Float32[Tensor, "n c h w"]:
    """Images with one branch's part taken from others.

    Args:
        module: the autoencoder.
        images: raw images, uint8, which keep all other parts.
        others: those that give the part, as many.
        branch: number of the branch.

    Returns:
        Brightness within [0, 1]; what lies beyond is cut off.

    Raises:
        InputError: as ``reconstruct``, and for another number of images.
    """
    if len(others) != len(images):
        raise InputError(f"others has {len(others)} images for {len(images)}: give as many.")
    parts, given = module.parts(_checked(images, module)), module.parts(_checked(others, module))
    place = _branch(branch, module)
    parts[:, place] = given[:, place]
    return module.pixels(parts.sum(1))


def _checked(images: Tensor, module: Autoencoder) -> Tensor:
    shape = tuple(module.network.in_shape)
    if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != shape:
        raise InputError(
            f"images are {images.dtype} of shape {tuple(images.shape)}: they must be torch.uint8 of shape "
            f"(n, {', '.join(map(str, shape))}), as the network was trained on."
        )
    return images


def _branch(branch: int, module: Autoencoder) -> int:
    count = len(module.network.branches)
    if isinstance(branch, bool) or not isinstance(branch, int) or branch not in range(count):
        raise InputError(f"branch is {branch!r}: it must be one of 0 to {count - 1}.")
    return branch
