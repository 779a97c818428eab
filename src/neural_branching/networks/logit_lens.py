"""The token that a causal language model would write if it ended at a stage."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neural_branching.errors import InputError
from neural_branching.selection.array_types import Float, Float64, Int64

BLOCK = 256  # hidden states at once: each has a logit for every token of the vocabulary


@dataclass(frozen=True)
class NextTokens:
    """The likeliest token after each of some texts.

    Attributes:
        token: its id.
        log_probability: of it, nats, at most 0.
        entropy: of the law of all tokens, nats, at least 0.
        margin: log-probability less that of the second likeliest, at least 0.
    """

    token: Int64[np.ndarray, " n"]
    log_probability: Float64[np.ndarray, " n"]
    entropy: Float64[np.ndarray, " n"]
    margin: Float64[np.ndarray, " n"]


class LogitLens:
    """A causal language model's last normalisation and its head, on hidden states of any stage.

    This is the logit lens of nostalgebraist (2020); nothing of it is learned.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        last: the name of the stage whose hidden states are normalised already.

    Raises:
        InputError: for a model whose logits are not its head's of the normalised last hidden states: some
            have no such normalisation, some scale or cap what the head gives.
    """

    def __init__(self, model: Any, last: str) -> None:
        self.head, self.norm, self.last = model.get_output_embeddings(), _last_norm(model), last

    @torch.inference_mode()
    def __call__(self, hidden: Float[Tensor, "n width"], stage: str) -> NextTokens:
        """What follows texts, from hidden states at their last tokens.

        Args:
            hidden: the hidden states, on any device.
            stage: where they were taken.
        """
        blocks = [self._block(some, stage) for some in torch.split(hidden, BLOCK)]
        return NextTokens(
            *(np.concatenate([getattr(one, field.name) for one in blocks]) for field in fields(NextTokens))
        )

    def _block(self, hidden: Tensor, stage: str) -> NextTokens:
        weight = self.head.weight
        hidden = hidden.to(weight.device, weight.dtype)
        law = self.head(hidden if stage == self.last else self.norm(hidden)).float().log_softmax(-1)
        (first, second), token = law.topk(2).values.unbind(1), law.argmax(1)
        numbers = (first, -(law.exp() * law).sum(1), first - second)
        return NextTokens(token.cpu().numpy(), *(one.double().cpu().numpy() for one in numbers))


@torch.inference_mode()
def _last_norm(model: Any) -> nn.Module:
    """The module that puts out the last hidden states, of which the head gives the logits."""
    put_out: list[tuple[nn.Module, Tensor]] = []
    last: list[Tensor] = []

    def note(module: nn.Module, inputs: Sequence[Any], output: Any) -> None:
        if isinstance(output, Tensor):
            put_out.append((module, output))

    base = model.base_model
    norms = [one for one in base.modules() if "norm" in type(one).__name__.lower()]
    handles = [one.register_forward_hook(note) for one in norms]
    handles.append(base.register_forward_hook(lambda _, __, output: last.append(output.last_hidden_state)))
    try:
        logits = model(input_ids=torch.zeros(1, 2, dtype=torch.int64, device=model.device)).logits
    finally:
        for handle in handles:
            handle.remove()
    found = [module for module, output in put_out if torch.equal(output, last[-1])]
    head = model.get_output_embeddings()
    if not found or head is None or not torch.allclose(head(last[-1]), logits, rtol=1e-3, atol=1e-4):
        raise InputError(
            f"The parent is {type(model).__name__}, whose logits are not its head's of its normalised last "
            "hidden states, so that the head cannot read its other stages: choose target=parent_correct."
        )
    return found[-1]
