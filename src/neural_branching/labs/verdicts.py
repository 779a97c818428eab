"""What becomes of a question: words, when a p-value decides, and a test over seeds."""

from collections.abc import Sequence

import numpy as np

from neural_branching.labs.permutation_tests import ALPHA

SEEN, NOT_SEEN, UNDECIDED = "seen here", "not seen here", "not decidable here"
EXACT = 16  # seeds up to which all signs are tried
_ROUNDING = 1e-9  # of p-values that are exactly .05


def significant(p: float) -> bool:
    """Whether a p-value is .05 or less."""
    return p <= ALPHA + _ROUNDING


def sign_flips(differences: Sequence[float]) -> float:
    """One-sided p-value of a mean above 0, by flipping the signs of paired differences.

    Exact for up to 16 pairs; of more, 100,000 random flips.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if n <= EXACT:
        codes = np.arange(2**n)[:, None] >> np.arange(n) & 1
        return float(np.mean((1 - 2 * codes) @ values >= values.sum() - 1e-12))
    flips = np.random.default_rng(0).choice([-1, 1], (100_000, n))
    return float((1 + np.sum(flips @ values >= values.sum() - 1e-12)) / 100_001)


def chance(p: float | None) -> str:
    """A p-value in two digits."""
    return "–" if p is None else f"{p:.2g}"


def short(verdict: str) -> str:
    """A verdict that stays on one line."""
    return verdict.removesuffix(" here").replace(" ", "\N{NO-BREAK SPACE}")
