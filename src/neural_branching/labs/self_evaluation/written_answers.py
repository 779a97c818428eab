"""Answers that a language model writes, found in the store or written, and the texts that a branch sees."""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from neural_branching.artifacts.trained_weights import WEIGHTS
from neural_branching.artifacts.workspace import Workspace
from neural_branching.data.inputs.text_inputs import TextInputs, packed
from neural_branching.data.sources.source import Questions, Source
from neural_branching.data.table import CONTENT, DataTable
from neural_branching.errors import InputError
from neural_branching.files.progress import progress
from neural_branching.files.reading import read_json
from neural_branching.labs.self_evaluation.generation_spec import GenerationSpec
from neural_branching.labs.self_evaluation.grading import accepts, plain
from neural_branching.networks.generation import Generated, generate
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.selection.array_types import Bool
from neural_branching.store.artifact_store import Artifact, Facts

log = logging.getLogger(__name__)

RECIPE = 1
WRITTEN, LARGEST = "answers.json", 1 << 30
BATCH = 16  # prompts at once


@dataclass(frozen=True)
class TextsSeen(Workspace):
    """A workspace whose table holds what a branch sees: questions as they were asked, and answers."""

    def examples(self) -> DataTable:
        """The table itself, which was verified when it was made."""
        return self.table


def ensure_written(workspace: Workspace, network: HuggingFaceText, how: GenerationSpec) -> Artifact:
    """The answers of a language model to all rows of a table.

    Args:
        workspace: the model and the questions.
        network: the model, without weights.
        how: it is asked.

    Raises:
        InputError: if it writes no answers, or a prompt is longer than the model takes.
    """
    identity = {
        "recipe": RECIPE,
        "texts": workspace.table.artifact.sha(CONTENT),
        "weights": workspace.weights.sha(WEIGHTS),
        "network": {**workspace.parent.content(), **network.resolved},
        "shots": how.shots,
        "tokens": how.tokens,
    }

    def write(folder: Path) -> Facts:
        questions = _questions(workspace)
        assert network.tokenizer
        model = network.answering().to(workspace.compute.device())
        prompts = [how.prompt(question) for question in questions]
        log.info("Asking %s %s questions.", workspace.parent.name, f"{len(prompts):,}")
        with progress(f"Asking {len(prompts):,} questions") as show:
            written = generate(model, network.tokenizer, prompts, how.tokens, BATCH, show)
        (folder / WRITTEN).write_text(json.dumps([asdict(one) for one in written]), encoding="utf-8")
        return {"questions": len(written)}

    return workspace.store.fetch("answers", identity, write, needs=(WRITTEN,))


def read_written(artifact: Artifact) -> list[Generated]:
    """The answers, row by row."""
    return [
        Generated(one["text"], *(tuple(one[name]) for name in ("log_probability", "entropy", "margin")))
        for one in read_json(artifact.path / WRITTEN, LARGEST)
    ]


def seen_texts(workspace: Workspace, written: Artifact | None, how: GenerationSpec) -> TextsSeen:
    """The workspace of what a branch sees, row by row as in the table of questions.

    Args:
        workspace: of the questions.
        written: the answers; None where a branch looks before any is written.
        how: the model is asked.
    """
    identity = {
        "recipe": RECIPE,
        "texts": workspace.table.artifact.sha(CONTENT),
        "answers": written.sha(WRITTEN) if written else None,
        "shots": how.shots,
        "after": how.branch_after,
    }

    def write(folder: Path) -> Facts:
        questions = _questions(workspace)
        answers = [one.text for one in read_written(written)] if written else [""] * len(questions)
        pairs = zip(questions, answers, strict=True)
        np.save(folder / CONTENT, packed([how.seen(question, answer) for question, answer in pairs]))
        return {}

    artifact = workspace.store.fetch("seen", identity, write, needs=(CONTENT,))
    length = np.load(artifact.path / CONTENT, mmap_mode="r").shape[1]
    table = replace(workspace.table, artifact=artifact, input=TextInputs(length))
    return TextsSeen(**{**vars(workspace), "table": table})


def graded(workspace: Workspace, written: list[Generated]) -> Bool[np.ndarray, " n"]:
    """Which answers are accepted: by the source, or equal to the name of the question's class."""
    accepted = accepted_answers(workspace.table, workspace.data.source)
    return np.array([accepts(one.text, right) for one, right in zip(written, accepted, strict=True)])


def accepted_answers(table: DataTable, source: Source) -> list[tuple[str, ...]]:
    """The right answers to every row: those of the source, or the name of the row's class.

    Raises:
        InputError: if no answer to a question would be accepted.
    """
    if isinstance(source, Questions):
        found = [source.accepted(name) for name in table.names]
    else:
        found = [(table.classes[label],) for label in table.labels]
    for name, right in zip(table.names, found, strict=True):
        if not any(plain(one) for one in right):
            raise InputError(
                f"No answer to the question {name} is accepted: its right answers are "
                f"{', '.join(map(repr, right))}, and an answer needs a letter or a digit."
            )
    return found


def _questions(workspace: Workspace) -> list[str]:
    texts = workspace.parent.input
    assert isinstance(texts, TextInputs)
    return texts.decoded(workspace.examples().examples())
