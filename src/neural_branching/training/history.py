"""What a fit leaves behind beside its weights: its metrics by epoch, and which epoch was kept."""

from neural_branching.training.recipe import Recipe

History = list[dict[str, float]]
METRICS = ("train/loss", "val/loss", "val/accuracy")  # of a classifier's epochs


def best_epoch(history: History, recipe: Recipe) -> int:
    """Number of the epoch, from 1, whose weights the recipe keeps: the first of equals."""
    if recipe.keep != "best":
        return len(history)
    sign = 1 if recipe.monitor == "val/loss" else -1
    return 1 + min(range(len(history)), key=lambda epoch: sign * history[epoch][recipe.monitor])
