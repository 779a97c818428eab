"""One run's settings, checked without importing torch."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig

from neural_branching.compute import Compute
from neural_branching.config import build, only_keys, plain
from neural_branching.data.hashes import FileHashes
from neural_branching.data.labels import Labels
from neural_branching.data.sources.base import Source
from neural_branching.data.split import Split
from neural_branching.data.subset import Subset
from neural_branching.errors import ArgumentError, InputError, each_of, one_of, whole
from neural_branching.fit import Fit
from neural_branching.objectives import checked
from neural_branching.readout import Readout
from neural_branching.selection.scores.base import Score
from neural_branching.selection.thresholds.base import Threshold
from neural_branching.views import Views

_PARENT = {"name", "network", "fit", "augment", "normalize", "seed", "labels", "classes", "checkpoint"}
_TOP = {"data", "subset", "parent", "branch_point", "views", "branch", "score", "threshold", "trainer"}
_TOP |= {"seed", "outputs", "published", "baselines", "baseline_epochs", "objectives"}
BASELINES = ("restricted", "linear_probe", "knn", "random_parent", "scratch", "fine_tuned", "random_labels")

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """Everything that a run was asked to do.

    Networks and augmentation stay plain configuration here: building them takes torch.

    Attributes:
        config: the whole resolved configuration.
        outputs: folder of the store, the runs and the sweeps.
        known: every class of the data set, in label order.
        classes: the subset's classes.
        groups: the classes behind each label of the branch, in label order: one each, unless the branch
            is an inner node of a hierarchy.
        labels: what the parent tells apart.
        checkpoint: the parent's weights from elsewhere; None if it is trained here.
        objectives: what a search optimises, names of ``objectives.DIRECTIONS``.
        baselines: names among ``BASELINES`` of what to compare the branch with.
        baseline_epochs: how long baselines learn from pixels; None for as long as the parent.
        untrained: leave the parent at its initial weights (a baseline).
        random_labels: train the branch on labels that say nothing about the images (a baseline).
        images_per_class: how many training images of each class the branch may learn from; None for all.
        stretch: how many times more epochs make as many steps of them as of all.
        trunk: the branch that this one grows from; None if it grows from the parent.
        trusted: whether the user vouches for the configuration: it may name classes of other packages.
        learner: whose training images the network on pixels learns from, the parent's or, in a baseline
            of the branch, the "branch"'s.
    """

    config: dict[str, Any]
    outputs: Path
    source: Source
    split: Split
    image_size: int
    known: tuple[str, ...]
    subset: Subset
    classes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    parent_fit: Fit
    parent_seed: int
    labels: Labels
    checkpoint: Path | None
    stage: str
    readout: Readout
    views: Views
    branch_fit: Fit
    branch_seed: int
    score: Score
    threshold: Threshold
    compute: Compute
    objectives: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    baseline_epochs: int | None = None
    untrained: bool = False
    random_labels: bool = False
    images_per_class: int | None = None
    stretch: float = 1.0
    learner: str = "parent"
    trunk: "Settings | None" = None
    trusted: bool = True

    @cached_property
    def but_threshold(self) -> str:
        """All settings but the threshold, as text: equal for the runs of a sweep of thresholds."""
        return json.dumps({**self.config, "threshold": None}, sort_keys=True, default=str)

    @classmethod
    def from_config(cls, config: DictConfig) -> "Settings":
        """Build and check the parts of a composed configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        return cls.from_values(plain(config), trusted=True)

    @classmethod
    def from_values(cls, values: dict[str, Any], *, trusted: bool) -> "Settings":
        """As ``from_config``, of plain values.

        Args:
            values: the whole configuration.
            trusted: whether the user has written it, or vouches for it.

        Raises:
            UntrustedError: for classes of other packages, if it is not trusted.
            InputError: for the first thing that cannot be used.
        """
        data, parent, branch = values["data"], values["parent"], values["branch"]
        only_keys(values, _TOP, "The configuration")
        only_keys(data, {"name", "root", "classes", "superclasses", "image_size", "source", "split"}, "data")
        only_keys(parent, _PARENT | ({"model", "weights"} & parent["network"].keys()), "parent")
        only_keys(branch, {"name", "network", "fit", "seed", "images_per_class"}, "branch")
        only_keys(values["branch_point"], {"stage", "readout"}, "branch_point")
        score = build(values["score"], "score", Score, trusted=trusted)
        threshold = build(values["threshold"], "threshold", Threshold, trusted=trusted)
        subset = build(values["subset"], "subset", Subset, trusted=trusted)
        split = build(data["split"], "data.split", Split, trusted=trusted)
        source = build(data["source"], "data.source", Source, trusted=trusted)
        views = {name: value for name, value in values["views"].items() if name != "augment"}
        outputs = Path(values["outputs"]).absolute()
        hashes = FileHashes(outputs / "store" / "hashes")
        known = known_classes(source, data["classes"], hashes)
        counts = source.counts(known, hashes)
        split.check(counts)
        classes = subset.resolve(known, data["superclasses"] or {})
        offered = split.training({name: counts[name] for name in classes})
        limit = _images_per_class(branch["images_per_class"], offered)
        stretch = sum(offered.values()) / (limit * len(offered)) if limit else 1.0
        placed("threshold", lambda: threshold.check(score, foreign=len(classes) < len(known)))
        labels = placed(
            "parent",
            lambda: Labels(parent["labels"], parent["classes"], known, classes, data["superclasses"] or {}),
        )
        return cls(
            config=values,
            outputs=outputs,
            source=source,
            split=split,
            image_size=whole(data["image_size"], "data.image_size", 8),
            known=known,
            subset=subset,
            classes=classes,
            groups=tuple((name,) for name in classes),
            parent_fit=build(parent["fit"], "parent.fit", Fit, trusted=trusted),
            parent_seed=whole(parent["seed"], "parent.seed", 0),
            labels=labels,
            checkpoint=_checkpoint(parent["checkpoint"]),
            stage=str(values["branch_point"]["stage"]),
            readout=placed("branch_point", lambda: Readout(values["branch_point"]["readout"])),
            views=build(views, "views", Views, trusted=trusted),
            branch_fit=build(branch["fit"], "branch.fit", Fit, trusted=trusted).stretched(stretch),
            branch_seed=whole(branch["seed"], "branch.seed", 0),
            score=score,
            threshold=threshold,
            compute=build(values["trainer"], "trainer", Compute, trusted=trusted),
            objectives=checked(values.get("objectives")),
            baselines=_baselines(values["baselines"]),
            baseline_epochs=_maybe_whole(values["baseline_epochs"], "baseline_epochs"),
            images_per_class=limit,
            stretch=stretch,
            trusted=trusted,
        )


def placed(place: str, action: Callable[[], T]) -> T:
    """Do something and say of a refused argument where in the configuration it stands."""
    try:
        return action()
    except ArgumentError as error:
        raise ArgumentError(f"{place}.{error.argument}", error.problem) from None


def _checkpoint(file: object) -> Path | None:
    if file is None:
        return None
    path = Path(str(file)).expanduser().absolute()
    if not path.is_file():
        raise InputError(f"parent.checkpoint is {str(file)!r}: there is no such file.")
    return path


def _maybe_whole(value: object, name: str) -> int | None:
    return None if value is None else whole(value, name, 1)


def _images_per_class(limit: object, offered: Mapping[str, int]) -> int | None:
    images = _maybe_whole(limit, "branch.images_per_class")
    fewest = min(offered, key=lambda name: offered[name])
    if images is not None and images > offered[fewest]:
        raise InputError(
            f"branch.images_per_class is {images}: a branch can learn from at most {offered[fewest]} images "
            f"of class {fewest!r}."
        )
    return images


def _baselines(chosen: object) -> tuple[str, ...]:
    if chosen is None or chosen == "all":
        return BASELINES if chosen else ()
    if not isinstance(chosen, Sequence) or isinstance(chosen, str):
        raise InputError(
            f"baselines is {chosen!r}: it must be all, null or a list among {', '.join(BASELINES)}."
        )
    return tuple(dict.fromkeys(one_of(name, BASELINES, "a name in baselines") for name in chosen))


def known_classes(source: Source, chosen: Sequence[str] | None, hashes: FileHashes) -> tuple[str, ...]:
    """The classes of a data set in their order: those chosen, or all that its source offers.

    Raises:
        InputError: unless the choice is a list of at least two different classes of the source, and for
            a class that no configuration can name.
    """
    offered = source.class_names(hashes)
    for name in offered:
        if "${" in name:
            raise InputError(
                f"A class is called {name!r}, which configurations take for an interpolation: rename it."
            )
    if chosen is None:
        return offered
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        raise InputError(f"data.classes is {chosen!r}: it must be a list of class names, as in [a,b].")
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise InputError(f"data.classes is {list(chosen)}: it must name at least two different classes.")
    return tuple(each_of(chosen, offered, "a class in data.classes"))
