"""What a study of branch specialization was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from neural_branching.config.build import build, check_keys, plain
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.experiment import compute_of
from neural_branching.config.own_classes import find_own_modules
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.hashes import FileHashes
from neural_branching.data.subset import Subset
from neural_branching.errors import InputError, one_of, whole
from neural_branching.labs.permutation_tests import check_draws
from neural_branching.labs.specialization.lesions import FILLS
from neural_branching.labs.specialization.treatments import StudyTreatment
from neural_branching.labs.specialization.unit_features import FEATURES
from neural_branching.training.compute import Compute

_KEYS = {"data", "subset", "parent", "branch_point", "trainer", "seed", "repeats", "outputs"}
_KEYS |= {"logger", "permutations", "divisions", "lesion", "examples", "treatment"}


@dataclass(frozen=True)
class StudySpec:
    """A study: networks of one design, from several seeds, beside a plain network of equal cost.

    Attributes:
        data: the examples.
        parent: the network with branches, of the first seed.
        stage: where lesions and similarities are measured.
        repeats: number of seeds.
        permutations: of every permutation test.
        divisions: of the units at random, that lesions and similarities are compared with.
        lesion: what replaces units: "mean", "zero" or "noise".
        examples: most examples of a split that units are shown.
        treatment: what is done to a further network of every seed; None for nothing.
        compute: where it runs.
        outputs: folder of the store, the runs and the sweeps.
        config: the whole resolved configuration, to be written beside the results.
    """

    data: DataSpec
    parent: ParentSpec
    stage: str
    repeats: int
    permutations: int
    divisions: int
    lesion: str
    examples: int
    treatment: StudyTreatment | None
    compute: Compute
    outputs: Path
    config: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: DictConfig) -> "StudySpec":
        """Build and check the parts of a composed configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        values = plain(config)
        find_own_modules(values)
        check_keys(values, _KEYS, "The configuration")
        outputs = Path(str(values["outputs"])).absolute()
        data = DataSpec.of(values["data"], FileHashes(outputs / "store" / "hashes"), trusted=True)
        subset = build(values["subset"], "subset", Subset, trusted=True)
        classes = subset.resolve(data.classes, data.superclasses)
        if values["parent"]["classes"] != "all":
            raise InputError("parent.classes is not used here: subset says which classes networks learn.")
        parent = ParentSpec.of({**values["parent"], "classes": list(classes)}, data, classes, trusted=True)
        if parent.checkpoint is not None and values["repeats"] != 1:
            raise InputError(
                f"repeats is {values['repeats']!r} while parent.checkpoint gives weights: write repeats=1."
            )
        if parent.recipe is None and parent.checkpoint is None and parent.network.get("weights") is None:
            raise InputError(
                "parent.fit is null: a study needs networks that are trained, here or elsewhere."
            )
        if parent.network.get("weights") is not None and values["repeats"] != 1:
            raise InputError(
                f"repeats is {values['repeats']!r} while parent.network.weights gives the first weights: "
                "networks that start alike are no repeats of one another, so write repeats=1."
            )
        treatment = values["treatment"] and build(
            values["treatment"],
            "treatment",
            StudyTreatment,
            trusted=False,  # code of others is in no key
        )
        if treatment and not (parent.learns and parent.recipe and parent.recipe.keep == "every"):
            raise InputError(
                f"treatment is {treatment.name!r}, which is done while networks are trained and followed "
                "over their epochs: it takes parent.checkpoint=null and parent.fit.keep=every."
            )
        permutations = whole(values["permutations"], "permutations", 1)
        check_draws(permutations, len(FEATURES))
        return cls(
            data=data,
            parent=parent,
            stage=str(values["branch_point"]["stage"]),
            repeats=whole(values["repeats"], "repeats", 1),
            permutations=permutations,
            divisions=whole(values["divisions"], "divisions", 19),
            lesion=one_of(values["lesion"], FILLS, "lesion"),
            examples=whole(values["examples"], "examples", 100),
            treatment=treatment or None,
            compute=compute_of(values, outputs, trusted=True),
            outputs=outputs,
            config=values,
        )

    @property
    def parents(self) -> list[ParentSpec]:
        """The network with branches, of every seed."""
        return [replace(self.parent, seed=self.parent.seed + number) for number in range(self.repeats)]
