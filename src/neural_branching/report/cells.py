"""How numbers are written in tables."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Interval = Sequence[float]

LARGE = 10_000


@dataclass(frozen=True)
class Cell:
    """A metric of one setting.

    Attributes:
        mean: over the seeds; None where no run has it.
        deviation: standard deviation (n − 1) over the seeds: how much another seed would differ on the same
            examples; None for a single run.
        interval: 95 % interval over test examples: how much other examples would differ. Of several seeds,
            the mean of their intervals, which is at most too wide: it is right for seeds that err on the same
            examples, and the standard deviation of a mean never exceeds the mean of the deviations.
        mark: stands before the number.
    """

    mean: float | None
    deviation: float | None = None
    interval: Interval | None = None
    mark: str = ""

    @classmethod
    def over(cls, values: Sequence[float]) -> "Cell":
        """Mean and standard deviation over seeds; empty of none."""
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.mean(values), deviation) if values else cls(None)

    def __str__(self) -> str:
        return self.mark + with_interval(self.mean, self.interval, self.deviation)

    def without_interval(self) -> str:
        """The number as narrow as it can be."""
        return self.mark + number(self.mean, self.deviation)


Entry = Cell | str  # of a table


def number(value: float | None, deviation: float | None = None) -> str:
    """Three decimals, of counts and large numbers none, ± a deviation; – where there is no number."""
    if value is None or value != value:
        return "–"
    digits = ",.0f" if isinstance(value, int) or abs(value) >= LARGE else ".3f"
    return f"{value:{digits}}" if deviation is None else f"{value:{digits}}±{deviation:{digits}}"


def with_interval(value: float | None, interval: Interval | None, deviation: float | None = None) -> str:
    """The number, and the ends of the interval in brackets."""
    if interval is None or value is None or value != value or interval[0] is None:
        return number(value, deviation)
    return f"{number(value, deviation)} [{interval[0]:.3f}, {interval[1]:.3f}]"


def setting(value: object) -> str:
    """A setting as tables show it: of a number with many digits four."""
    return re.sub(r"\d*\.\d{5,}(e[-+]?\d+)?", lambda found: f"{float(found[0]):.4g}", str(value))


def short_name(name: str, every: Sequence[str]) -> str:
    """A setting in words; of ``branch.fit.lr`` the end that tells it from the others."""
    parts = name.split(".")
    ends = [".".join(parts[place:]) for place in reversed(range(len(parts)))]
    alone = next(end for end in ends if sum(f".{one}".endswith(f".{end}") for one in every) == 1)
    return alone if "." in name else name.replace("_", " ")


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a Markdown table."""
    rule = f"|{'---|' * len(header)}"
    return [f"| {' | '.join(header)} |", rule, *(f"| {' | '.join(map(str, line))} |" for line in lines)]
