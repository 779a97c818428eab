"""One run's settings, checked without importing torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from neural_branching.compute import Compute
from neural_branching.config import build, only_keys, plain
from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources.base import Source
from neural_branching.data.split import Split
from neural_branching.data.subset import Subset
from neural_branching.errors import ArgumentError, InputError, one_of, whole
from neural_branching.fit import Fit
from neural_branching.selection.scores.base import Score
from neural_branching.selection.thresholds.base import Threshold

_TOP = {"data", "subset", "parent", "branch_point", "branch", "score", "threshold", "trainer"}
_TOP |= {"seed", "outputs", "published"}


@dataclass(frozen=True)
class Settings:
    """Everything that a run was asked to do.

    Networks and augmentation stay plain configuration here: building them takes torch.

    Attributes:
        config: the whole resolved configuration.
        outputs: folder of the store, the runs and the sweeps.
        known: every class of the data set, in label order.
        classes: the subset's classes, in label order.
    """

    config: dict[str, Any]
    outputs: Path
    source: Source
    split: Split
    image_size: int
    known: tuple[str, ...]
    subset: Subset
    classes: tuple[str, ...]
    parent_fit: Fit
    parent_seed: int
    stage: str
    branch_fit: Fit
    branch_seed: int
    score: Score
    threshold: Threshold
    compute: Compute

    @classmethod
    def from_config(cls, config: DictConfig) -> "Settings":
        """Build and check the parts of a composed configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        values = plain(config)
        data, parent, branch = values["data"], values["parent"], values["branch"]
        only_keys(values, _TOP, "The configuration")
        only_keys(data, {"name", "root", "classes", "superclasses", "image_size", "source", "split"}, "data")
        only_keys(parent, {"name", "network", "fit", "augment", "normalize", "seed"}, "parent")
        only_keys(branch, {"name", "network", "fit", "seed"}, "branch")
        only_keys(values["branch_point"], {"stage"}, "branch_point")
        score, threshold = build(values["score"], "score"), build(values["threshold"], "threshold")
        subset = build(values["subset"], "subset")
        split = build(data["split"], "data.split")
        source = build(data["source"], "data.source")
        outputs = Path(values["outputs"]).absolute()
        hashes = FileHashes(outputs / "store" / "hashes")
        known = _known_classes(source, data["classes"], hashes)
        split.check(source.counts(known, hashes))
        classes = subset.resolve(known, data["superclasses"] or {})
        try:
            threshold.check(score, foreign=len(classes) < len(known))
        except ArgumentError as error:
            raise ArgumentError(f"threshold.{error.argument}", error.problem) from None
        return cls(
            config=values,
            outputs=outputs,
            source=source,
            split=split,
            image_size=whole(data["image_size"], "data.image_size", 8),
            known=known,
            subset=subset,
            classes=classes,
            parent_fit=build(parent["fit"], "parent.fit"),
            parent_seed=whole(parent["seed"], "parent.seed", 0),
            stage=str(values["branch_point"]["stage"]),
            branch_fit=build(branch["fit"], "branch.fit"),
            branch_seed=whole(branch["seed"], "branch.seed", 0),
            score=score,
            threshold=threshold,
            compute=build(values["trainer"], "trainer"),
        )


def _known_classes(source: Source, chosen: Sequence[str] | None, hashes: FileHashes) -> tuple[str, ...]:
    offered = source.class_names(hashes)
    if chosen is None:
        return offered
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        raise InputError(f"data.classes is {chosen!r}: it must be a list of class names, as in [a,b].")
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise InputError(f"data.classes is {list(chosen)}: it must name at least two different classes.")
    return tuple(one_of(name, offered, "a class in data.classes") for name in chosen)
