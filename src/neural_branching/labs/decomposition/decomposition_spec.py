"""What a study of decomposition was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from neural_branching.config.build import build, check_class, check_keys, plain
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.experiment import compute_of
from neural_branching.data.hashes import FileHashes
from neural_branching.data.subset import Subset
from neural_branching.errors import ArgumentError, InputError, folder_name, number, whole
from neural_branching.training.compute import Compute
from neural_branching.training.recipe import INFINITY, Recipe

_KEYS = {"data", "subset", "autoencoder", "trainer", "seed", "repeats", "outputs", "logger"}
_KEYS |= {"parameters", "code", "shuffles", "splits", "examples"}
_AUTOENCODER = {"name", "network", "noise", "beta", "fit", "seed"}


@dataclass(frozen=True)
class AutoencoderSpec:
    """A branched autoencoder. Its network stays plain values: building it takes torch.

    Attributes:
        name: how it is called.
        network: class and options.
        noise: deviation of the noise on training examples, in deviations of the pixels; 0 for none.
        beta: weight of the KL divergence of a variational autoencoder; 0 for another kind.
        recipe: how it is trained.
        seed: of weights and batches.
        separate: whether every branch is trained alone.
    """

    name: str
    network: Mapping[str, Any]
    noise: float
    beta: float
    recipe: Recipe
    seed: int
    separate: bool = False

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> "AutoencoderSpec":
        """Build and check the group "autoencoder" of a configuration.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        network = check_class(
            check_keys(group, _AUTOENCODER, "autoencoder")["network"], "autoencoder.network"
        )
        recipe = build(group["fit"], "autoencoder.fit", Recipe, trusted=False)
        for name, usual in (("label_smoothing", 0.0), ("monitor", "val/loss")):
            if getattr(recipe, name) != usual:
                raise ArgumentError(
                    f"autoencoder.fit.{name}",
                    f"is {getattr(recipe, name)!r}: an autoencoder has no labels, so it must be {usual}.",
                )
        return cls(
            name=folder_name(group["name"], "autoencoder.name"),
            network=network,
            noise=number(group["noise"], "autoencoder.noise", 0, INFINITY),
            beta=number(group["beta"], "autoencoder.beta", 0, INFINITY),
            recipe=recipe,
            seed=whole(group["seed"], "autoencoder.seed", 0),
        )

    @property
    def branches(self) -> int:
        """Number of branches."""
        return whole(self.network.get("branches", 3), "autoencoder.network.branches", 1)

    def with_network(self, **options: Any) -> "AutoencoderSpec":
        """The same with other options of the network."""
        return replace(self, network={**self.network, **options})

    def identity(self) -> dict[str, Any]:
        """Its part of the key of its weights."""
        return {
            "network": self.network,
            "noise": self.noise,
            "beta": self.beta,
            "separate": self.separate,
            "fit": vars(self.recipe),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class DecompositionSpec:
    """A study: branched autoencoders from several seeds, beside their controls.

    Attributes:
        data: the examples.
        classes: those that are reconstructed.
        autoencoder: the branched one, of the first seed.
        repeats: number of seeds.
        parameters: of all branches together, to which the width is fitted; None for the width as it is.
        code: numbers that all branches together keep of an image; None for what each keeps as it is.
        shuffles: random orders of the branches of every example, a control.
        splits: random divisions of the last hidden units of an unbranched autoencoder, a control.
        examples: most test examples that are taken apart.
        compute: where it runs.
        outputs: folder of the store, the runs and the sweeps.
        config: the whole resolved configuration, to be written beside the results.
    """

    data: DataSpec
    classes: tuple[str, ...]
    autoencoder: AutoencoderSpec
    repeats: int
    parameters: int | None
    code: int | None
    shuffles: int
    splits: int
    examples: int
    compute: Compute
    outputs: Path
    config: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: DictConfig, *, trusted: bool = True) -> "DecompositionSpec":
        """Build and check the parts of a composed configuration.

        Args:
            config: the configuration.
            trusted: whether it may be made of classes of other packages.

        Raises:
            InputError: for the first thing that cannot be used.
        """
        values = plain(config)
        check_keys(values, _KEYS, "The configuration")
        outputs = Path(str(values["outputs"])).absolute()
        data = DataSpec.of(values["data"], FileHashes(outputs / "store" / "hashes"), trusted=trusted)
        if data.input.name != "images":
            raise InputError(f"data is {data.name!r}, which holds {data.input.name}: decompose takes images.")
        subset = build(values["subset"], "subset", Subset, trusted=trusted)
        autoencoder = AutoencoderSpec.of(values["autoencoder"])
        if autoencoder.branches == 1:
            raise InputError(
                "autoencoder.network.branches is 1: a comparison of branches takes 2 at least (an unbranched "
                "autoencoder of equal parameters stands beside every study)."
            )
        parameters, code = values["parameters"], values["code"]
        if code is not None and whole(code, "code", 1) % autoencoder.branches:
            raise InputError(
                f"code is {code}: it must be a multiple of the number of branches, {autoencoder.branches}, "
                "that share it."
            )
        return cls(
            data=data,
            classes=subset.resolve(data.classes, data.superclasses),
            autoencoder=autoencoder,
            repeats=whole(values["repeats"], "repeats", 1),
            parameters=None if parameters is None else whole(parameters, "parameters", 1),
            code=code,
            shuffles=whole(values["shuffles"], "shuffles", 19),
            splits=whole(values["splits"], "splits", 2),
            examples=whole(values["examples"], "examples", 20),
            compute=compute_of(values, outputs, trusted=trusted),
            outputs=outputs,
            config=values,
        )
