"""The sweeper that runs every combination of comma-separated values."""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins


class GridSweeper(BasicSweeper):
    """Hydra's own, without its check of the jobs: ``CheckAndSummarize`` has composed and checked them.

    It would compose each once more, which takes as long as a warm job's own work.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Nothing is left to check."""


def register() -> None:
    """Make it what ``hydra/sweeper=basic`` means, Hydra's default."""
    Plugins.instance().register(GridSweeper)
    node = {"_target_": f"{__name__}.{GridSweeper.__name__}", "max_batch_size": None, "params": None}
    ConfigStore.instance().store("basic", node, group="hydra/sweeper", provider="neural-branching")
