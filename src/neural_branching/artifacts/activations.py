"""The frozen parent's activations: every stage of every example, from one pass, kept on disk."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from neural_branching.data.batches import Augment
from neural_branching.data.table import DataTable
from neural_branching.data.views import Views
from neural_branching.errors import InputError
from neural_branching.files.progress import progress
from neural_branching.files.row_file import RowFile
from neural_branching.networks.readout import Readout, stages_of
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.selection.array_types import Float, Float32, Int64, Shaped
from neural_branching.store.artifact_store import Artifact, Facts

RECIPE = 1
BATCH = 512  # most examples of a pass; of views so many are drawn together
# Most bytes of a layer's output for a batch, by device. On a CPU what exceeds 32 MB is given back to the
# system at once, and a backbone that works on such layers waits for new pages most of the time.
LARGEST = {"cpu": 2**24, "cuda": 2**28}
ROWS = 8192  # that are widened at a time


def stage_shapes(
    parent: StandardizedNetwork, blank: Tensor, stages: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Shape of some stages' outputs for one example, found by a pass over a blank one, (1, …)."""
    with torch.inference_mode():
        outputs = parent.eval().walk(blank.to(parent.device), stages)
        return {name: tuple(output.shape[1:]) for name, output in outputs}


def main_stages(parent: StandardizedNetwork, blank: Tensor) -> tuple[str, ...]:
    """The network's main stages, without those that give no activations.

    Of anyone's module some children may never be called, or return several things.
    """
    names = parent.network.main_stages
    try:
        return tuple(stage_shapes(parent, blank, names))
    except InputError:
        return tuple(name for name in names if _gives_activations(parent, blank, name))


def _gives_activations(parent: StandardizedNetwork, blank: Tensor, stage: str) -> bool:
    try:
        stage_shapes(parent, blank, (stage,))
    except InputError:
        return False
    return True


def stage_widths(
    parent: StandardizedNetwork, blank: Tensor, stages: Sequence[str] | None, readout: Readout
) -> dict[str, int]:
    """Length of the vectors that a readout makes of some stages, None for the network's main stages.

    Raises:
        InputError: if the readout does not fit a stage.
    """
    shapes = stage_shapes(parent, blank, stages or main_stages(parent, blank))
    token, mask = parent.network.token_readout, parent.network.mask(blank)
    return {
        name: readout(torch.zeros(1, *shape), token(name), mask).shape[1] for name, shape in shapes.items()
    }


def mean_tokens(
    parent: StandardizedNetwork, blank: Tensor, stages: Sequence[str] | None, readout: Readout
) -> list[str]:
    """Of some stages those where "auto" is the mean of the tokens although the network has a class token."""
    network = parent.network
    if readout.kind != "auto" or network.class_token is None:
        return []
    early = [name for name in stages or network.main_stages if not network.has_class_token(name)]
    shapes = stage_shapes(parent, blank, early) if early else {}
    return [name for name, shape in shapes.items() if len(shape) == 2]


def fitting_batch(
    parent: StandardizedNetwork, blank: Tensor, device: torch.device, stages: Sequence[str] | None = None
) -> int:
    """Examples of a batch: a power of two, at most 512, for which no layer's output is above ``LARGEST``.

    Args:
        parent: the network.
        blank: one example, (1, …).
        device: where the pass runs.
        stages: those that a pass keeps; None for the network's main stages.
    """
    largest = 1

    def measure(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    hooks = [module.register_forward_hook(measure) for module in parent.modules()]
    try:
        stage_shapes(parent, blank, stages or main_stages(parent, blank))
    finally:
        for hook in hooks:
            hook.remove()
    fit = LARGEST.get(device.type, LARGEST["cuda"]) // largest
    return int(min(BATCH, 2 ** max(0, fit.bit_length() - 1)))


def extract(
    parent: StandardizedNetwork,
    examples: Shaped[np.ndarray, "n ..."],
    folder: Path,
    device: torch.device,
    stages: Sequence[str] | None = None,
    readout: Readout | None = None,
    batch_size: int | None = None,
    dtype: str = "float32",
) -> Facts:
    """Write the activations of all examples at some stages, one safetensors file per stage.

    The network is put into evaluation mode: no dropout, stored batch-norm statistics. Row i of every
    file belongs to example i. Files grow batch by batch, so that memory does not limit their size.

    Args:
        parent: the frozen network: a parent, or a branch that others grow from.
        examples: as the table holds them, or of a branch its inputs, float32 (n, width); may be
            memory-mapped.
        folder: where ``<stage>.safetensors`` is written, (n, width) under "activations".
        device: where the forward pass runs.
        stages: names of the stages; None for the network's main stages.
        readout: how outputs become vectors; None for each stage's default.
        batch_size: examples of a batch; None for ``fitting_batch``.
        dtype: "float32" or "float16".

    Returns:
        Number of examples and width of every stage.

    Raises:
        InputError: if the disk has no room for the files, or an activation is too large for its type;
            nothing is kept then.
    """
    size = batch_size or fitting_batch(parent, _blank(examples), device, stages)
    read = BATCH if parent.network.tokenizer else size  # of texts those of one length go together
    batches = (
        torch.from_numpy(np.array(examples[start : start + read])) for start in range(0, len(examples), read)
    )
    return _write(parent, batches, examples, len(examples), folder, device, stages, readout, size, dtype)


def extract_views(
    parent: StandardizedNetwork,
    examples: Shaped[np.ndarray, "n ..."],
    rows: Int64[np.ndarray, " m"],
    views: Views,
    augment: Augment,
    folder: Path,
    device: torch.device,
    stages: Sequence[str] | None = None,
    readout: Readout | None = None,
    batch_size: int | None = None,
    dtype: str = "float32",
) -> Facts:
    """Write the activations of augmented views of some examples; as ``extract``, view after view.

    Args:
        parent: the frozen network.
        examples: as the table holds them; may be memory-mapped.
        rows: which of them; row ``v · len(rows) + i`` of every file is view v of example ``rows[i]``.
        views: their number and seed.
        augment: changes batches of examples.
        folder: where the files are written.
        device: where the forward pass runs.
        stages: names of the stages; None for the network's main stages.
        readout: how outputs become vectors; None for each stage's default.
        batch_size: examples of a batch, which changes no view; None for ``fitting_batch``.
        dtype: as for ``extract``.

    Returns:
        Number of vectors and width of every stage.

    Raises:
        InputError: as ``extract``.
    """
    size = batch_size or fitting_batch(parent, _blank(examples), device, stages)
    generator = torch.Generator().manual_seed(views.seed)
    chunks = (
        torch.from_numpy(examples[rows[start : start + BATCH]])
        for _ in range(views.count)
        for start in range(0, len(rows), BATCH)
    )
    batches = (
        batch
        for chunk in chunks
        for batch in torch.split(augment(chunk, augment.draw(chunk.shape, generator)), size)
    )
    n = views.count * len(rows)
    return _write(parent, batches, examples, n, folder, device, stages, readout, size, dtype)


@torch.inference_mode()
def _write(
    parent: StandardizedNetwork,
    batches: Iterable[Tensor],
    examples: Shaped[np.ndarray, "n ..."],
    n: int,
    folder: Path,
    device: torch.device,
    stages: Sequence[str] | None,
    readout: Readout | None,
    size: int,
    dtype: str,
) -> Facts:
    readout = readout or Readout("auto")
    widths = stage_widths(parent, _blank(examples), stages, readout)
    _check_room(folder, item_size(dtype) * n * sum(widths.values()))
    parent = parent.to(device).eval()
    with ExitStack() as stack:
        disk = stack.enter_context(ThreadPoolExecutor(1))
        files = {
            name: stack.enter_context(RowFile(folder / f"{name}.safetensors", n, width, dtype, disk))
            for name, width in widths.items()
        }
        title = f"Computing the activations of {n:,} examples"
        show, done = stack.enter_context(progress(title, n)), 0
        for batch in batches:
            vectors = _of_texts if parent.network.tokenizer else _vectors
            for name, found in vectors(parent, batch, tuple(widths), readout, size):
                # Written while it is still in the processor's cache.
                files[name].append(_narrowed(found, dtype, name))
            done += len(batch)
            show(done / n)
    return {"examples": n, "widths": widths}


def _vectors(
    parent: StandardizedNetwork,
    batch: Shaped[Tensor, "n ..."],
    stages: Sequence[str],
    readout: Readout,
    size: int,
) -> Iterator[tuple[str, Float32[Tensor, "n width"]]]:
    """Name and vectors of some stages, from one pass over a batch that is as large as one may be."""
    x, network = batch.to(parent.device), parent.network
    mask = network.mask(x)
    for name, output in parent.walk(x, stages):
        yield name, readout(output, network.token_readout(name), mask).cpu()


def _of_texts(
    parent: StandardizedNetwork,
    batch: Shaped[Tensor, "n tokens"],
    stages: Sequence[str],
    readout: Readout,
    size: int,
) -> Iterator[tuple[str, Float32[Tensor, "n width"]]]:
    """As ``_vectors`` of texts, those of about one length at a time, so that little is filled up.

    A pass takes at most as many tokens as ``size`` texts of the longest kind have.
    """
    lengths = (batch >= 0).sum(1)
    order, most = lengths.argsort(descending=True, stable=True), size * batch.shape[1]
    found: dict[str, list[Tensor]] = {}
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        rows = order[start : start + most // longest]
        for name, vectors in _vectors(parent, batch[rows, :longest], stages, readout, size):
            found.setdefault(name, []).append(vectors)
        start += len(rows)
    back = order.argsort()
    for name, parts in found.items():
        yield name, torch.cat(parts)[back]


def item_size(dtype: str) -> int:
    """Bytes of a number as stored."""
    return int(getattr(torch, dtype).itemsize)


def _narrowed(vectors: Float32[Tensor, "n width"], dtype: str, stage: str) -> Float[Tensor, "n width"]:
    """Vectors in the type that they are stored in.

    Raises:
        InputError: for a number that is too large for it.
    """
    stored = vectors.to(getattr(torch, dtype))
    if stored.dtype != vectors.dtype and bool((stored.isinf() & vectors.isfinite()).any()):
        raise InputError(
            f"Activations of {stage} come up to {float(vectors.abs().max()):,.0f}, and {dtype} holds at most "
            f"{torch.finfo(stored.dtype).max:,.0f}: use activations.dtype=float32."
        )
    return stored


def files_of(point: str) -> list[str]:
    """The files that hold the activations of a branch point."""
    return [f"{stage}.safetensors" for stage in stages_of(point)]


def checksum(artifact: Artifact, point: str) -> str | list[str]:
    """What identifies the activations of a branch point: of each of several stages its own checksum."""
    sums = [artifact.sha(name) for name in files_of(point)]
    return sums if len(sums) > 1 else sums[0]


def width(artifact: Artifact, point: str) -> int:
    """Length of the vectors of a branch point."""
    return sum(artifact.facts["widths"][stage] for stage in stages_of(point))


def read(
    artifact: Artifact, point: str, rows: Int64[np.ndarray, " n"] | None = None
) -> Float32[Tensor, "n width"]:
    """Activations of a branch point, read through a memory map.

    Args:
        artifact: stored activations.
        point: name of a stage, or of several, whose vectors follow one another.
        rows: row numbers; None for all.
    """
    return gather([(mapped(artifact, point), rows)], artifact.path.parent)


def mapped(artifact: Artifact, point: str) -> list[Tensor]:
    """The activations of each stage of a branch point, mapped."""
    tensors = []
    for name in files_of(point):
        with safe_open(artifact.path / name, framework="pt") as file:
            tensors.append(file.get_tensor("activations"))
    return tensors


def fits_memory(rows: int, width: int) -> bool:
    """Whether float32 vectors should be held in memory: if they take at most half of the machine's."""
    return 4 * rows * width <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def gather(
    parts: Sequence[tuple[Sequence[Float[Tensor, "_ _"]], Int64[np.ndarray, " _"] | None]], folder: Path
) -> Float32[Tensor, "n width"]:
    """Chosen rows of some tensors, one after another; all rows of a single float32 tensor are itself.

    Where memory is too small for them they lie in a file without a name, mapped, that goes away with
    the tensor: slower, but training works as ever.

    Args:
        parts: tensors whose columns follow one another, mapped ones too, and row numbers; None for all.
        folder: where there is room for the file.

    Raises:
        OSError: if there is not.
    """
    [first, *_], rows = parts[0]
    if len(parts) == 1 and len(parts[0][0]) == 1 and rows is None and first.dtype == torch.float32:
        return first
    counts = [len(tensors[0]) if rows is None else len(rows) for tensors, rows in parts]
    shape = sum(counts), sum(tensor.shape[1] for tensor in parts[0][0])
    if fits_memory(*shape):
        gathered = torch.empty(shape)
    else:
        with TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])  # a map cannot fail gently
            gathered = torch.from_numpy(np.memmap(file, np.float32, "r+", shape=shape))
    for (tensors, rows), places in zip(parts, torch.split(gathered, counts), strict=True):
        columns = torch.split(places, [tensor.shape[1] for tensor in tensors], 1)
        for tensor, place in zip(tensors, columns, strict=True):
            if rows is None:
                place.copy_(tensor)
            elif tensor.dtype == place.dtype:
                torch.index_select(tensor, 0, torch.from_numpy(rows), out=place)
            else:  # some at a time, as each is copied once more on its way to another type
                blocks = torch.split(torch.from_numpy(rows), ROWS), torch.split(place, ROWS)
                for some, block in zip(*blocks, strict=True):
                    block.copy_(tensor[some])
    return gathered


def subset_targets(
    table: DataTable, rows: Int64[np.ndarray, " n"], groups: Sequence[Sequence[str]]
) -> Int64[np.ndarray, " n"]:
    """Index of the group of classes that each row's class is in; -1 where it is in none."""
    index = np.full(len(table.classes), -1, dtype=np.int64)
    for label, group in enumerate(groups):
        index[table.indices(group)] = label
    targets: Int64[np.ndarray, " n"] = index[table.labels[rows]]
    return targets


def _blank(examples: Shaped[np.ndarray, "n ..."]) -> Tensor:
    return torch.from_numpy(np.zeros((1, *examples.shape[1:]), examples.dtype))


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"The activations of all stages need {needed / 1e9:.1f} GB, and the disk of {folder.parent} has "
            f"{free / 1e9:.1f} GB free: free some space or choose another folder with outputs=FOLDER."
        )
