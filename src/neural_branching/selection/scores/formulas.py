"""Confidence scores as formulas of logits, on the Array API standard: one text for numpy and for torch.

Every function takes logits of any such array type, and returns an array of the same type. Nothing is checked:
``from_logits`` has the scores that check.
"""

from typing import Any

from array_api_compat import array_namespace, device

from neural_branching.selection.array_types import Float

Array = Any  # of numpy, torch, or another library that follows the standard


def softmax(logits: Float[Array, "n classes"], temperature: float = 1.0) -> Float[Array, "n classes"]:
    """Probabilities exp(z / T) / Σ exp(z / T).

    Args:
        logits: finite reals.
        temperature: positive; above 1 it makes probabilities more even.
    """
    xp = array_namespace(logits)
    scaled = logits / temperature
    exponentials = xp.exp(scaled - xp.max(scaled, axis=1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=1, keepdims=True)


def max_softmax(logits: Float[Array, "n classes"], temperature: float = 1.0) -> Float[Array, " n"]:
    """max_y p(y), within [1 / classes, 1], at a temperature."""
    return array_namespace(logits).max(softmax(logits, temperature), axis=1)


def margin(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
    """p₁ − p₂, within [0, 1]."""
    probabilities = array_namespace(logits).sort(softmax(logits), axis=1)
    if logits.shape[1] == 1:
        return probabilities[:, 0]
    return probabilities[:, -1] - probabilities[:, -2]


def negative_entropy(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
    """Σ p·ln p, within [−ln(classes), 0]."""
    xp = array_namespace(logits)
    probabilities = softmax(logits)
    # Where a probability is rounded to 0, so is its part of the sum.
    some = xp.where(probabilities > 0, probabilities, xp.ones_like(probabilities))
    return xp.sum(probabilities * xp.log(some), axis=1)


def max_logit(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
    """max_y z(y)."""
    return array_namespace(logits).max(logits, axis=1)


def energy(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
    """Ln Σ exp z(y)."""
    xp = array_namespace(logits)
    largest = xp.max(logits, axis=1, keepdims=True)
    return xp.log(xp.sum(xp.exp(logits - largest), axis=1)) + largest[:, 0]


def log_odds(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
    """Ln p₁ / (1 − p₁) of the likeliest of at least two classes; finite where 1 − p₁ is rounded to 0."""
    xp = array_namespace(logits)
    places = xp.arange(logits.shape[1], dtype=xp.int64, device=device(logits))
    likeliest = places[None] == xp.argmax(logits, axis=1)[:, None]
    # Without sorting, which ONNX has no operator for in double precision.
    return xp.max(logits, axis=1) - energy(xp.where(likeliest, -xp.inf, logits))
