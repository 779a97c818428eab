"""Files of vectors in every format, for tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

FORMATS = ("safetensors", "npy", "parquet")
Columns = Mapping[str, NDArray[Any]]


def examples(
    per_class: int = 30, classes: int = 4, *, logits: bool = True, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Two stages around the centres of classes, and the logits of who knows the centres."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    centres = rng.normal(size=(classes, 6))
    early = centres[labels] + 0.7 * rng.normal(size=(len(labels), 6))
    columns = {
        "layer2": early.astype(np.float32),
        "layer10": np.maximum(early @ rng.normal(size=(6, 5)), 0),
        "labels": labels,
    }
    if logits:
        columns["logits"] = -((early[:, None] - centres) ** 2).sum(axis=2).astype(np.float32)
    return columns


def write(folder: Path, kind: str, columns: Columns, classes: Sequence[str] | None = None) -> Path:
    """Write a file of one of the formats, or a folder; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "npy":
        place = folder / "arrays"
        place.mkdir()
        for name, array in columns.items():
            np.save(place / f"{name}.npy", array)
        if classes:
            (place / "classes.json").write_text(json.dumps(classes))
        return place
    file = folder / f"vectors.{kind}"
    if kind == "safetensors":
        contiguous = {name: np.ascontiguousarray(array) for name, array in columns.items()}
        save_file(contiguous, file, {"classes": json.dumps(classes)} if classes else None)
        return file
    import pyarrow
    from pyarrow import parquet

    arrays: dict[str, Any] = {}
    for name, array in columns.items():
        if array.ndim == 1:
            arrays[name] = pyarrow.array(array.tolist())
        elif name == "layer10":  # the other way to write a matrix
            arrays |= {f"{name}.{place}": column for place, column in enumerate(array.T)}
        else:
            arrays[name] = pyarrow.array(list(array))
    metadata = {"classes": json.dumps(classes)} if classes else None
    parquet.write_table(pyarrow.table(arrays).replace_schema_metadata(metadata), file)
    return file
