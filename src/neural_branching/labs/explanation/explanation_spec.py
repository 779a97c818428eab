"""What a study of explanations was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from neural_branching.config.build import build, check_keys, plain
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.experiment import compute_of
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.hashes import FileHashes
from neural_branching.data.subset import Subset
from neural_branching.errors import InputError, number, whole
from neural_branching.labs.decomposition.decomposition_spec import AutoencoderSpec
from neural_branching.training.compute import Compute

_KEYS = {"data", "subset", "parent", "branch_point", "autoencoder", "trainer", "seed", "repeats", "outputs"}
_KEYS |= {"logger", "evidence", "energies", "examples"}


@dataclass(frozen=True)
class ExplanationSpec:
    """A study: autoencoders that explain classifiers of several seeds.

    Attributes:
        data: the examples.
        classes: those that are told apart and reconstructed.
        parent: the classifier of the first seed.
        autoencoder: of the first seed.
        repeats: number of seeds; a study of one trains a second classifier to ask whether it agrees.
        evidence: weight of the loss that brings class evidence into the first branch.
        energies: of what is subtracted from an image, shares of the image's energy, increasing.
        examples: most test examples that are explained.
        compute: where it runs.
        outputs: folder of the store, the runs and the sweeps.
        config: the whole resolved configuration, to be written beside the results.
    """

    data: DataSpec
    classes: tuple[str, ...]
    parent: ParentSpec
    autoencoder: AutoencoderSpec
    repeats: int
    evidence: float
    energies: tuple[float, ...]
    examples: int
    compute: Compute
    outputs: Path
    config: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: DictConfig) -> "ExplanationSpec":
        """Build and check the parts of a composed configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        values = plain(config)
        check_keys(values, _KEYS, "The configuration")
        outputs = Path(str(values["outputs"])).absolute()
        data = DataSpec.of(values["data"], FileHashes(outputs / "store" / "hashes"), trusted=True)
        if data.input.name != "images":
            raise InputError(f"data is {data.name!r}, which holds {data.input.name}: explain takes images.")
        subset = build(values["subset"], "subset", Subset, trusted=True)
        classes = subset.resolve(data.classes, data.superclasses)
        if values["parent"]["classes"] != "all":
            raise InputError("parent.classes is not used here: subset says which classes are told apart.")
        parent = ParentSpec.of({**values["parent"], "classes": list(classes)}, data, classes, trusted=True)
        if not parent.learns or not parent.labels.names:
            raise InputError(
                "explain compares classifiers of several seeds: it takes parent.checkpoint=null, "
                "parent.labels=fine or coarse, and a parent.fit."
            )
        autoencoder = AutoencoderSpec.of(values["autoencoder"])
        if autoencoder.branches == 1:
            raise InputError(
                "autoencoder.network.branches is 1: one branch holds the class evidence and the others the "
                "rest, which takes 2 at least."
            )
        return cls(
            data=data,
            classes=classes,
            parent=parent,
            autoencoder=autoencoder,
            repeats=whole(values["repeats"], "repeats", 1),
            evidence=number(values["evidence"], "evidence", 0, 1e6),
            energies=_energies(values["energies"]),
            examples=whole(values["examples"], "examples", 20),
            compute=compute_of(values, outputs, trusted=True),
            outputs=outputs,
            config=values,
        )

    @property
    def classifiers(self) -> list[ParentSpec]:
        """A classifier of every seed, two at least."""
        return [replace(self.parent, seed=self.parent.seed + n) for n in range(max(2, self.repeats))]


def _energies(values: Any) -> tuple[float, ...]:
    """Shares of an image's energy.

    Raises:
        InputError: if there is none, one is not above 0 and at most 1, or they do not increase.
    """
    listed = values if isinstance(values, list) else [values]
    if not listed:
        raise InputError("energies is empty: give shares of an image's energy, such as [0.001,0.01].")
    found = tuple(number(one, "energies", 0, 1, open_low=True) for one in listed)
    if sorted(set(found)) != [*found]:
        raise InputError(f"energies is {list(found)}: they must increase.")
    return found
