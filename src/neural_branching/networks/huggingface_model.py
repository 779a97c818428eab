"""Models of Hugging Face's transformers, from a folder or the hub's cache: what all of them share."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch

from neural_branching.errors import ArgumentError, InputError

T = TypeVar("T")
GGUF = ".gguf"


def import_transformers() -> Any:
    """The library.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"Models of Hugging Face need the package {error.name}: pip install 'neural-branching[hf]'."
        ) from error
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call] # one line of progress is enough
    return transformers


def place_of(model: str) -> tuple[str, dict[str, str]]:
    """Where the library finds a model: its folder or name, and of a GGUF file which file of the folder."""
    file = Path(model)
    if file.suffix != GGUF:
        return model, {}
    if not file.is_file():
        raise ArgumentError("model", f"is {model!r}: there is no such file.")
    return str(file.parent), {"gguf_file": file.name}


def had(model: str, get: Callable[[], T]) -> T:
    """What the library makes of a model's name.

    Raises:
        InputError: if it makes nothing of it.
    """
    try:
        return get()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, UnpicklingError) as error:
        reason = str(error).splitlines()[0].strip().rstrip(".") if str(error) else type(error).__name__
        raise ArgumentError("model", f"is {model!r}, which cannot be loaded: {reason}.") from error


def revision(transformers: Any, model: str) -> str | None:
    """The commit of a model of the hub, so that all of its files are of one; None of a folder."""
    found = transformers.utils.cached_file(model, "config.json")
    if found is None:  # as of an empty folder
        raise OSError(f"{model} has no config.json")
    file = Path(found)
    return file.parent.name if file.parent.parent.name == "snapshots" else None


def with_weights(kind: Any, model: str, config: Any, fixed: Mapping[str, Any]) -> Any:
    """The model with its published weights, all of them.

    Raises:
        InputError: if they lack any.
    """
    module, found = had(
        model,
        lambda: kind.from_pretrained(
            model, config=config, output_loading_info=True, weights_only=True, dtype=torch.float32, **fixed
        ),
    )
    lacking = sorted(name for name in found["missing_keys"] if not name.startswith("pooler.dense"))
    unfit = sorted(str(one[0] if isinstance(one, tuple) else one) for one in found["mismatched_keys"])
    if lacking or unfit:
        what = "lacks" if lacking else "has of another shape"
        raise ArgumentError(
            "model", f"is {model!r}, whose file of weights {what} {(lacking or unfit)[0]!r} of the model."
        )
    return module


def described(config: Any) -> str:
    """What of a model's configuration decides what it computes, as JSON."""
    place = ("transformers_version", "_name_or_path")
    chosen = {name: one for name, one in config.to_diff_dict().items() if name not in place}
    return json.dumps(chosen, sort_keys=True, default=str)
