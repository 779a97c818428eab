"""What a study of self-evaluation was asked for."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from neural_branching.config.branch_spec import KEYS, POINT_KEYS, BranchSpec
from neural_branching.config.build import build, check_keys, plain
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.experiment import compute_of
from neural_branching.config.kept_activations import KeptActivations
from neural_branching.config.own_classes import find_own_modules
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.hashes import FileHashes
from neural_branching.data.subset import Subset
from neural_branching.data.views import Views
from neural_branching.errors import InputError, whole
from neural_branching.labs.self_evaluation.generation_spec import GenerationSpec
from neural_branching.labs.self_evaluation.targets import AgreesWithFinal, Target
from neural_branching.selection.thresholds.plain import Fixed
from neural_branching.selection.thresholds.threshold import Threshold
from neural_branching.training.compute import Compute

_KEYS = {"data", "subset", "parent", "branch_point", "branch", "target", "threshold", "generation"}
_KEYS |= {"stages", "repeats", "seed", "trainer", "logger", "activations", "outputs"}
WRONG, RIGHT = "wrong", "right"


@dataclass(frozen=True)
class SelfEvaluationSpec:
    """A study: at some stages, branches that say whether their parent is right.

    Attributes:
        data: the examples.
        classes: of those that the parent is asked about.
        parent: what answers.
        branch: what says whether it is right, at any stage.
        target: what "right" means.
        threshold: how the smallest confidence is chosen that is accepted.
        generation: how a language model is asked.
        stages: of the parent, where branches grow; null for all main stages but logits.
        repeats: number of splits; their seeds count up, and those of branches and of a trained parent too.
        compute: where it runs.
        outputs: folder of the store, the runs and the sweeps.
        config: the whole resolved configuration, to be written beside the results.
    """

    data: DataSpec
    classes: tuple[str, ...]
    parent: ParentSpec
    branch: BranchSpec
    target: Target
    threshold: Threshold
    generation: GenerationSpec
    stages: tuple[str, ...] | None
    repeats: int
    compute: Compute
    outputs: Path
    config: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: DictConfig) -> "SelfEvaluationSpec":
        """Build and check the parts of a composed configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        values = plain(config)
        find_own_modules(values)
        return cls.from_values(values, trusted=True)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, trusted: bool) -> "SelfEvaluationSpec":
        """As ``from_config``, of plain values.

        Args:
            values: the whole configuration.
            trusted: whether the user has written it, or vouches for it.

        Raises:
            UntrustedError: for classes of other packages, if it is not trusted.
            InputError: for the first thing that cannot be used.
        """
        check_keys(values, _KEYS, "The configuration")
        outputs = Path(str(values["outputs"])).absolute()
        data = DataSpec.of(values["data"], FileHashes(outputs / "store" / "hashes"), trusted=trusted)
        subset = build(values["subset"], "subset", Subset, trusted=trusted)
        classes = subset.resolve(data.classes, data.superclasses)
        kept = KeptActivations.of(values["activations"])
        parent = ParentSpec.of(values["parent"], data, classes, kept, trusted=trusted)
        classifies, disjoint = bool(parent.labels.names), data.split.disjoint
        target = build(values["target"], "target", Target, trusted=trusted)
        if not classifies and data.input.name != "texts":
            raise InputError(
                f"parent={parent.name} gives no answers that could be right: it has no logits, and "
                f"{data.input.name} are no questions."
            )
        if parent.learns and not disjoint:
            raise InputError(
                "data.split.disjoint is false: the parent is right on nearly all examples that it learned "
                "from, so that branches have to learn from others; write data.split.disjoint=true."
            )
        branch, generation = _branch(values, trusted=trusted), GenerationSpec.of(values["generation"])
        target.check(
            classifies=classifies,
            disjoint=disjoint,
            branch_after=generation.branch_after,
            readout=branch.readout.kind,
        )
        return cls(
            data=data,
            classes=classes,
            parent=parent,
            branch=branch,
            target=target,
            threshold=_threshold(values, trusted=trusted),
            generation=generation,
            stages=_stages(values["stages"]),
            repeats=whole(values["repeats"], "repeats", 1),
            compute=compute_of(values, outputs, trusted=trusted),
            outputs=outputs,
            config=values,
        )

    @property
    def through_lens(self) -> bool:
        """Whether stages answer by a language model's own head."""
        return isinstance(self.target, AgreesWithFinal) and not self.parent.labels.names

    def repeat(self, place: int) -> "SelfEvaluationSpec":
        """The study of one split: everything that is drawn is drawn from another seed."""
        split, parent = copy(self.data.split), self.parent
        split.seed += place
        group = {**self.data.group, "split": {**self.data.group["split"], "seed": split.seed}}
        if parent.learns:
            parent = replace(parent, seed=parent.seed + place)
        return replace(
            self,
            data=replace(self.data, split=split, group=group),
            parent=parent,
            branch=replace(self.branch, seed=self.branch.seed + place),
            repeats=1,
        )

    def at(self, stage: str) -> BranchSpec:
        """The branch at a stage."""
        return replace(self.branch, stage=stage)


def _branch(values: Mapping[str, Any], *, trusted: bool) -> BranchSpec:
    branch, point = values["branch"], values["branch_point"]
    check_keys(branch, KEYS, "branch")
    check_keys(point, POINT_KEYS, "branch_point")
    if branch["examples_per_class"] is not None:
        raise InputError("branch.examples_per_class is not used here: leave it at null.")
    groups = ((WRONG,), (RIGHT,))
    return BranchSpec.of("self_evaluation", groups, point, branch, Views(), None, 1.0, trusted=trusted)


def _threshold(values: Mapping[str, Any], *, trusted: bool) -> Threshold:
    threshold = build(values["threshold"], "threshold", Threshold, trusted=trusted)
    if threshold.needs_foreign:
        raise InputError(
            f"threshold={threshold.kind} takes foreign classes, and there are none here: choose another."
        )
    if isinstance(threshold, Fixed):
        raise InputError(
            f"threshold={threshold.kind} compares with one value, and confidences here have units of their "
            "own: choose another, such as coverage or random_walk."
        )
    return threshold


def _stages(asked: object) -> tuple[str, ...] | None:
    if asked is None:
        return None
    listed = isinstance(asked, Sequence) and not isinstance(asked, str)
    names = [str(one) for one in asked] if listed else []  # type: ignore[attr-defined]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"stages is {asked!r}: it must be null, or different stages of the parent, as in [block1,block2]."
        )
    return tuple(names)
