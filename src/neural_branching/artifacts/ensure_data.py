"""The table of examples, found in the store or made."""

from neural_branching.config.branch_spec import BranchSpec
from neural_branching.config.data_spec import DataSpec
from neural_branching.data.table import DataTable, ensure_table
from neural_branching.errors import InputError
from neural_branching.store.artifact_store import Store


def ensure_data(
    data: DataSpec,
    store: Store,
    *,
    content: bool = False,
    duplicates: bool = False,
    fingerprint: str | None = None,
) -> DataTable:
    """The table of examples with its split.

    Args:
        data: what was asked for.
        store: where artifacts are kept.
        content: whether the caller will read the content of examples too.
        duplicates: whether the caller will ask for duplicates.
        fingerprint: key of the table that is expected; None for any.

    Raises:
        InputError: as ``ensure_table``; and if it is another table, since examples have changed meanwhile.
    """
    table = ensure_table(
        store,
        data.name,
        data.source,
        data.classes,
        data.split,
        content=content,
        duplicates=duplicates,
    )
    if fingerprint not in (None, table.artifact.key):
        raise InputError(
            f"The {data.input.name} of data {data.name!r} have changed since this started: their fingerprint "
            f"was {fingerprint} and is {table.artifact.key}. Repeat the command, so that all of it "
            "sees the same."
        )
    return table


def check_examples(table: DataTable, data: DataSpec, branch: BranchSpec) -> None:
    """Check that duplicates have left enough training examples for ``examples_per_class``.

    Raises:
        InputError: naming the first class of which there are too few.
    """
    if not (branch.examples_per_class and data.split.moves_duplicates):
        return
    for name in branch.classes:
        examples = len(table.rows("train", [name]))
        if examples < branch.examples_per_class:
            raise InputError(
                f"branch.examples_per_class is {branch.examples_per_class}: with data.split.duplicates="
                f"{data.split.duplicates} a branch can learn from at most {examples} examples of class "
                f"{name!r}."
            )
