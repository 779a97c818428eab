"""What the branches of an experiment grow from: a store, a table of examples and a trained parent.

Every ``ensure_…`` of this room asks the store and computes only what is missing. Keys chain through the
checksums of what they rest on, so that a parent with other weights brings other activations and
other branches; scores and thresholds enter no key at all.
"""

from dataclasses import dataclass, replace

from safetensors.torch import load_file

from neural_branching.artifacts.build_networks import new_parent
from neural_branching.artifacts.ensure_data import ensure_data
from neural_branching.artifacts.ensure_parent import ensure_parent
from neural_branching.artifacts.trained_weights import WEIGHTS
from neural_branching.config.data_spec import DataSpec
from neural_branching.config.experiment import Experiment
from neural_branching.config.parent_spec import ParentSpec
from neural_branching.data.table import DataTable
from neural_branching.networks.standardized_network import StandardizedNetwork
from neural_branching.store.artifact_store import Artifact, Store, store_at
from neural_branching.training.compute import Compute


@dataclass(frozen=True)
class Workspace:
    """What the branches of an experiment grow from.

    Attributes:
        store: where artifacts are kept.
        data: the examples, as they were asked for.
        table: the examples.
        compute: where networks run.
        parent: the parent, as it was asked for.
        weights: its weights.
    """

    store: Store
    data: DataSpec
    table: DataTable
    compute: Compute
    parent: ParentSpec
    weights: Artifact

    @classmethod
    def of(cls, experiment: Experiment, table: DataTable) -> "Workspace":
        """Find or train the parent of an experiment."""
        store = store_of(experiment)
        data, compute, parent = experiment.data, experiment.compute, experiment.parent
        return cls(store, data, table, compute, parent, ensure_parent(store, data, table, compute, parent))

    def examples(self) -> DataTable:
        """The examples with their content, verified."""
        return ensure_data(self.data, self.store, content=True, fingerprint=self.table.artifact.key)

    def with_parent(self, parent: ParentSpec, start: Artifact | None = None) -> "Workspace":
        """The same with another parent, found or trained.

        Args:
            parent: the other parent.
            start: a parent of other labels, whose weights all but the last layer starts from.
        """
        weights = ensure_parent(self.store, self.data, self.table, self.compute, parent, start)
        return replace(self, parent=parent, weights=weights)


def store_of(experiment: Experiment) -> Store:
    """Where an experiment keeps its artifacts."""
    return store_at(experiment.outputs / "store")


def load_parent(workspace: Workspace) -> StandardizedNetwork:
    """The stored parent, in evaluation mode."""
    parent = new_parent(workspace.parent.anew()).eval()  # its weights are all in the store
    parent.load_state_dict(load_file(workspace.weights.path / WEIGHTS))
    return parent
