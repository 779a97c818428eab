"""How a classifier is fitted: everything about training that changes what is computed."""

from math import ceil

from neural_branching.errors import ArgumentError, number, one_of, whole

INFINITY = float("inf")


class Recipe:
    """A training recipe. Every value is part of the key of what it trains.

    Args:
        epochs: number of passes over the training split, at most.
        batch_size: examples per step.
        lr: learning rate; the peak of the schedule ``one_cycle``.
        optimizer: "adam" (weight decay as an L2 penalty on every parameter) or "adamw" (decoupled
            weight decay on matrices and kernels, none on norms and biases).
        weight_decay: strength of either.
        schedule: "constant" or "one_cycle" (Smith & Topin, 2018), stepped once per batch.
        pct_start: share of the steps of ``one_cycle`` in which the rate rises.
        label_smoothing: probability mass spread evenly over all classes (Szegedy et al., 2016).
        keep: "best" restores the weights of the best validation epoch, "last" keeps the last; "every" keeps
            the last too, and beside them those before the first epoch and after each.
        monitor: "val/loss" or "val/accuracy": what best means, and what patience waits for.
        patience: stop after this many epochs without an improvement; None never stops early.
        precision: "32-true" or "bf16-mixed" (autocast; weights stay float32).
        matmul_precision: "highest", "high" or "medium", as in ``torch.set_float32_matmul_precision``.

    Raises:
        InputError: for values outside their ranges.
    """

    def __init__(
        self,
        epochs: int,
        batch_size: int,
        lr: float,
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        schedule: str = "constant",
        pct_start: float = 0.25,
        label_smoothing: float = 0.0,
        keep: str = "best",
        monitor: str = "val/loss",
        patience: int | None = None,
        precision: str = "32-true",
        matmul_precision: str = "highest",
    ) -> None:
        self.epochs = whole(epochs, "epochs", 1)
        self.batch_size = whole(batch_size, "batch_size", 1)
        self.lr = number(lr, "lr", 0, INFINITY, open_low=True)
        self.optimizer = one_of(optimizer, ("adam", "adamw"), "optimizer")
        self.weight_decay = number(weight_decay, "weight_decay", 0, INFINITY)
        self.schedule = one_of(schedule, ("constant", "one_cycle"), "schedule")
        self.pct_start = number(pct_start, "pct_start", 0, 1)
        if self.pct_start == 1:
            raise ArgumentError(
                "pct_start", f"is {pct_start!r}, which leaves no step to fall: it must be below 1."
            )
        self.label_smoothing = number(label_smoothing, "label_smoothing", 0, 1)
        self.keep = one_of(keep, ("best", "last", "every"), "keep")
        self.monitor = one_of(monitor, ("val/loss", "val/accuracy"), "monitor")
        self.patience = None if patience is None else whole(patience, "patience", 1)
        self.precision = one_of(precision, ("32-true", "bf16-mixed"), "precision")
        self.matmul_precision = one_of(matmul_precision, ("highest", "high", "medium"), "matmul_precision")
        if self.keep != "best" and self.patience is not None:
            raise ArgumentError(
                "patience", f"is {patience} while keep is {self.keep!r}: stopping early needs keep=best."
            )

    def stretched(self, factor: float) -> "Recipe":
        """The same recipe with ``factor`` times the epochs and the patience, rounded up."""
        patience = None if self.patience is None else ceil(self.patience * factor)
        return Recipe(**{**vars(self), "epochs": ceil(self.epochs * factor), "patience": patience})
