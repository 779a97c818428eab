"""Weights that were made elsewhere: files of several kinds, and their fit to a network."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from neural_branching.errors import InputError


def read_state(file: Path) -> dict[str, Tensor]:
    """Named tensors of a ``.safetensors`` file, or of a PyTorch or Lightning checkpoint.

    Only tensors and plain values are read (``weights_only``): a file can run no code.

    Raises:
        InputError: if the file is missing, truncated or holds no named tensors.
    """
    if not file.is_file():
        raise InputError(f"The checkpoint {file} does not exist: give the file of a network's weights.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with file.open("rb") as stream:
            archive = stream.read(4) == b"PK\x03\x04"  # by which torch knows an archive
        if archive:
            _refuse_inflating(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles of newer protocols, which are refused below
            # Mapped, so that of weights that do not fit nothing is read.
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=archive)
    # What torch's reader raises on a file that is no checkpoint depends on the file's first bytes.
    except Exception as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise InputError(
            f"The checkpoint {file} cannot be read ({reason}): it must be a safetensors file or a state "
            "dict of tensors that torch.load(weights_only=True) accepts, complete."
        ) from error
    for name in ("state_dict", "model"):  # as Lightning and torchvision's references wrap it
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not content:
        raise InputError(
            f"The checkpoint {file} holds no state dict: its content is a {type(content).__name__}."
        )
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _refuse_inflating(file: Path) -> None:
    """Refuse an archive whose content is larger than the file: ``torch.save`` compresses nothing.

    Raises:
        ValueError: naming both sizes.
    """
    with zipfile.ZipFile(file) as archive:
        inflated, size = sum(entry.file_size for entry in archive.infolist()), file.stat().st_size
    if inflated > size:
        raise ValueError(f"its {size:,} bytes would inflate to {inflated:,}")


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str, *, other_classes: bool = False) -> None:
    """Load named tensors into a module, all of them.

    Args:
        module: the network.
        state: name → tensor.
        what: what the tensors are, for messages.
        other_classes: leave the last layer as it is if it is of another number of classes, and with it side
            exits, which are layers of as many outputs.

    Raises:
        InputError: if tensors are missing, left over, of another shape, no real numbers, or not finite,
            naming the first.
    """
    mine = module.state_dict()
    last = next((name.rpartition(".")[0] for name, _ in reversed([*module.named_parameters()])), None)
    classes = [_outputs_of(last, one) for one in (mine, state)]
    chosen = dict(state)
    for name, tensor in mine.items():
        if name not in chosen:
            raise InputError(f"{what} lacks {name!r}, which the network has: is it another network's?")
        theirs = chosen[name]
        if theirs.shape != tensor.shape:
            is_exit = [*theirs.shape[:1], *tensor.shape[:1]] == [*reversed(classes)]
            same_inputs = theirs.shape[1:] == tensor.shape[1:]
            if other_classes and (name.rpartition(".")[0] == last or (is_exit and same_inputs)):
                chosen[name] = tensor
                continue
            raise InputError(
                f"{what} has {name!r} of shape {tuple(theirs.shape)}, where the network "
                f"needs {tuple(tensor.shape)}."
            )
        _refuse_strange(theirs, f"{what} has {name!r}")
    if extra := chosen.keys() - mine.keys():
        raise InputError(f"{what} has {min(extra)!r}, which the network lacks: is it another network's?")
    if not any(tensor.is_meta for tensor in mine.values()):  # else only whether it fits is asked
        module.load_state_dict(chosen)


def _outputs_of(layer: str | None, state: Mapping[str, Tensor]) -> int | None:
    """Number of a layer's outputs."""
    return next((len(one) for name, one in state.items() if name.rpartition(".")[0] == layer), None)


def _refuse_strange(tensor: Tensor, where: str) -> None:
    """Refuse what cannot be copied into weights, or would make every output nan."""
    if tensor.is_complex() or tensor.is_quantized or tensor.layout is not torch.strided:
        kind = tensor.layout if tensor.layout is not torch.strided else tensor.dtype
        raise InputError(f"{where} of kind {kind}: weights must be ordinary tensors of real numbers.")
    if tensor.is_meta:  # an outline's own, which have no values
        return
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        value = "nan" if torch.isnan(tensor).any() else "infinite"
        raise InputError(f"{where} with weights that are {value}: every weight must be a finite number.")
