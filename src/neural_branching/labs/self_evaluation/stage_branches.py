"""For each stage of a study the answers there and the branch that tells right ones from wrong ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from neural_branching.artifacts import activations as act
from neural_branching.artifacts.build_networks import outline
from neural_branching.artifacts.ensure_branch import ensure_activations, ensure_logits
from neural_branching.artifacts.outputs import TrainedBranch
from neural_branching.artifacts.workspace import Workspace
from neural_branching.config.branch_spec import BranchSpec
from neural_branching.data.split import CODES, LEFT_OUT, SPLITS, TRAIN
from neural_branching.data.table import DataTable
from neural_branching.errors import InputError
from neural_branching.labs.self_evaluation.confidences import (
    BOTH,
    BRANCH,
    Regression,
    Rows,
    Scores,
    joined,
    own_confidences,
    pair,
)
from neural_branching.labs.self_evaluation.parent_answers import ParentAnswers, agreeing, agreeing_tokens
from neural_branching.labs.self_evaluation.rating import Rater
from neural_branching.labs.self_evaluation.self_evaluation_spec import RIGHT, WRONG, SelfEvaluationSpec
from neural_branching.labs.self_evaluation.targets import AgreesWithFinal
from neural_branching.labs.self_evaluation.written_answers import (
    ensure_written,
    graded,
    read_written,
    seen_texts,
)
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.networks.logit_lens import LogitLens
from neural_branching.selection.array_types import Bool
from neural_branching.selection.risk_coverage import failure_auroc

NOT_ASKED = "not asked"  # the label of rows that the parent is not asked about
READOUT = "readout"


@dataclass(frozen=True)
class StageBranch:
    """Answers, and a branch that says whether they are right.

    Attributes:
        answers: to all rows of the table.
        table: the rows of the data, labelled by whether the answer is right.
        rows: of each split, those that the parent is asked about.
        head: the branch.
        readout: the branch that answers for a stage; None where the parent answers for itself.
    """

    answers: ParentAnswers
    table: DataTable
    rows: Rows
    head: TrainedBranch
    readout: TrainedBranch | None

    @cached_property
    def log_odds(self) -> Scores:
        """What the branch says of all rows: the log-odds that an answer is right."""
        return np.asarray(np.diff(self.head.all_logits.astype(np.float64), axis=1)[:, 0])

    @cached_property
    def both(self) -> Regression:
        """The branch together with the parent's own confidence."""
        return joined(self.log_odds, self.answers.own, self.answers.right, self.rows)

    @cached_property
    def with_branch(self) -> dict[str, Scores]:
        """Name → confidence that takes the branch."""
        return {BRANCH: self.log_odds, BOTH: self.both(pair(self.log_odds, self.answers.own))}

    @property
    def without_branch(self) -> dict[str, Scores]:
        """Name → confidence that takes none."""
        return own_confidences(self.answers, self.rows)

    @property
    def validation(self) -> dict[str, float]:
        """Of each confidence that takes the branch its AUROC of being right on validation."""
        rows = self.rows["validation"]
        wrong = ~self.answers.right[rows]
        return {name: failure_auroc(one[rows], wrong) for name, one in self.with_branch.items()}

    def rater(self, spec: SelfEvaluationSpec) -> Rater:
        """What rates the confidences of all rows."""
        return Rater(~self.answers.right, self.rows, self.table.groups, spec.threshold)


def stage_branches(
    spec: SelfEvaluationSpec, workspace: Workspace, stages: Sequence[str]
) -> Iterator[StageBranch]:
    """For each stage of one split its answers, and its branch, found or trained.

    Raises:
        InputError: if all answers are right, or all wrong.
    """
    found = [*_answered(spec, workspace, stages)]
    tables = [_asked(seen.table, answers.right, spec.classes) for _, seen, answers, _ in found]
    rows = [{split: table.rows(split, (WRONG, RIGHT)) for split in SPLITS} for table in tables]
    for (stage, _, answers, _), some in zip(found, rows, strict=True):  # before any branch is trained
        _refuse_one_outcome(spec, stage, some, answers.right)
    for (stage, seen, answers, readout), table, some in zip(found, tables, rows, strict=True):
        head = TrainedBranch.of(replace(seen, table=table), spec.at(stage))
        yield StageBranch(answers, table, some, head, readout)


def _answered(
    spec: SelfEvaluationSpec, workspace: Workspace, stages: Sequence[str]
) -> Iterator[tuple[str, Workspace, ParentAnswers, TrainedBranch | None]]:
    """For each stage what its branch sees, the answers that it is to tell apart, and who gives them."""
    if spec.through_lens:
        asked, lens = seen_texts(workspace, None, spec.generation), lens_of(spec, workspace.compute.device())
        final = lens(_hidden(asked, spec, lens.last), lens.last)
        for stage in stages:
            read = lens(_hidden(asked, spec, stage), stage)
            yield stage, asked, agreeing_tokens(read, final), None
        return
    if not spec.parent.labels.names:
        network = outline(spec.parent).network
        assert isinstance(network, HuggingFaceText)
        artifact = ensure_written(workspace, network, spec.generation)
        written = read_written(artifact)
        answers = ParentAnswers.of_texts(written, graded(workspace, written))
        seen = seen_texts(workspace, artifact, spec.generation)
        yield from ((stage, seen, answers, None) for stage in stages)
        return
    logits = act.read(ensure_logits(workspace), "logits").numpy()
    labels, table = spec.parent.labels, workspace.table
    if isinstance(spec.target, AgreesWithFinal):
        for stage in stages:
            readout = TrainedBranch.of(_of_the_parent(workspace), _readout(spec, stage))
            yield stage, workspace, agreeing(readout.all_logits, logits), readout
        return
    targets = labels.targets(table.classes)[table.labels]
    answers = ParentAnswers.of_logits(logits, logits.argmax(axis=1) == targets, targets)
    yield from ((stage, workspace, answers, None) for stage in stages)


def lens_of(spec: SelfEvaluationSpec, device: torch.device) -> LogitLens:
    """What reads the stages of a language model, on a device.

    Raises:
        InputError: as ``LogitLens``.
    """
    network = outline(spec.parent).network
    assert isinstance(network, HuggingFaceText)
    return LogitLens(network.answering().to(device), network.last)


def _hidden(asked: Workspace, spec: SelfEvaluationSpec, stage: str) -> Tensor:
    """A stage's hidden states at the last tokens of all questions, (n, width)."""
    return act.read(ensure_activations(asked, spec.at(stage)), stage)


def _asked(table: DataTable, right: Bool[np.ndarray, " n"], classes: Sequence[str]) -> DataTable:
    """The same rows with another question: is the answer right? Rows of other classes are not asked about."""
    mine = np.isin(table.labels, table.indices(classes))
    labels = np.where(mine, right.astype(np.int64), 2)
    digest = sha256(f"{table.split_key}/".encode() + labels.tobytes()).hexdigest()
    return replace(table, classes=(WRONG, RIGHT, NOT_ASKED), labels=labels, split_key=digest)


def _of_the_parent(workspace: Workspace) -> Workspace:
    """The workspace in which branches learn from what the parent has learned from."""
    table, parent = workspace.table, CODES.index("parent")
    split = np.where(table.split == parent, TRAIN, table.split)
    split[table.split == CODES.index("branch")] = LEFT_OUT
    return replace(
        workspace, table=replace(table, split=split.astype(np.int8), split_key=f"{table.split_key}/parent")
    )


def _readout(spec: SelfEvaluationSpec, stage: str) -> BranchSpec:
    """A branch like the others that tells the parent's labels apart."""
    of = spec.parent.labels.of
    groups = tuple(
        tuple(name for name, label in of.items() if label == one) for one in spec.parent.labels.names
    )
    return replace(spec.at(stage), name=READOUT, groups=groups)


def _refuse_one_outcome(
    spec: SelfEvaluationSpec, stage: str, rows: Rows, right: Bool[np.ndarray, " n"]
) -> None:
    agrees = isinstance(spec.target, AgreesWithFinal)  # whose answers are those of each stage
    teller = f"the stage {stage}" if agrees else f"parent={spec.parent.name}"
    for split, some in rows.items():
        if right[some].all() or not right[some].any():
            outcome = "right" if right[some].all() else "wrong"
            written = not spec.parent.labels.names and not spec.through_lens
            word = "accepted" if written and outcome == "wrong" else "right"
            state = "are all right" if outcome == "right" else f"hold none that is {word}"
            raise InputError(
                f"The {len(some)} answers of {teller} to the examples of {split} {state}: a "
                "branch tells right answers from wrong ones, and needs both in every split."
            )
