"""Token ids of all texts, found in the store or made: each text is tokenised once for one tokenizer."""

import logging
from pathlib import Path

import numpy as np

from neural_branching.artifacts.workspace import Workspace
from neural_branching.data.inputs.text_inputs import TextInputs
from neural_branching.data.table import DataTable
from neural_branching.networks.tokenizer import Tokenizer
from neural_branching.selection.array_types import Int32
from neural_branching.store.artifact_store import Facts

log = logging.getLogger(__name__)

RECIPE = 1
IDS = "ids.npy"


def ensure_tokens(
    workspace: Workspace, tokenizer: Tokenizer, table: DataTable
) -> tuple[Int32[np.ndarray, "n tokens"], int]:
    """Token ids of all rows of a table, mapped, filled up with −1; and how many texts were cut.

    Args:
        workspace: where they are kept.
        tokenizer: of the parent.
        table: of texts, with their content.
    """
    texts = workspace.parent.input
    assert isinstance(texts, TextInputs)
    identity = {"recipe": RECIPE, "data": table.artifact.key, **tokenizer.identity}

    def tokenize(folder: Path) -> Facts:
        ids, cut = tokenizer.encode(texts.decoded(table.examples()))
        np.save(folder / IDS, ids)
        return {"cut": cut}

    artifact = workspace.store.fetch("tokens", identity, tokenize, needs=(IDS,))
    cut = int(artifact.facts["cut"])
    if cut:
        log.info(
            "%s of %s texts have more than %d tokens and were cut.",
            f"{cut:,}", f"{len(table):,}", tokenizer.tokens,
        )  # fmt: skip
    return np.load(artifact.path / IDS, mmap_mode="r"), cut
