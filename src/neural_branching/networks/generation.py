"""Answers that a causal language model writes: the likeliest token, again and again, until its line ends."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from neural_branching.networks.tokenizer import PADDING, Tokenizer


@dataclass(frozen=True)
class Generated:
    """An answer, and how likely the model found it.

    Attributes:
        text: without spaces at its ends.
        log_probability: of each of its tokens and, unless it was cut, of its line's end, nats, at most 0.
        entropy: of the law of each of these tokens, nats, at least 0.
        margin: log-probability of each of these tokens less that of the second likeliest, at least 0.
    """

    text: str
    log_probability: tuple[float, ...]
    entropy: tuple[float, ...]
    margin: tuple[float, ...]


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    most: int,
    batch: int,
    show: Callable[[float], None] = lambda share: None,
) -> list[Generated]:
    """The likeliest continuation of every prompt, token by token.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        tokenizer: its own.
        prompts: texts that end where an answer begins.
        most: most tokens of an answer.
        batch: prompts that go through the model at once.
        show: is told which share is done.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    found: dict[int, Generated] = {}
    for start in range(0, len(order), batch):
        some = order[start : start + batch]
        answers = _batch(model, tokenizer, [prompts[place] for place in some], most)
        found.update(zip(some, answers, strict=True))
        show(len(found) / len(order))
    return [found[place] for place in range(len(prompts))]


def _batch(model: Any, tokenizer: Tokenizer, prompts: Sequence[str], most: int) -> Iterator[Generated]:
    ids = torch.from_numpy(tokenizer.prompts(prompts)).long().to(model.device)
    mask = ids != PADDING
    ids, place = ids.where(mask, 0), (mask.cumsum(1) - 1).clamp(min=0)
    ends = torch.tensor(tokenizer.line_ends, dtype=torch.int64, device=ids.device)
    cache, steps, done = None, [], torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for _ in range(most):
        output = model(
            input_ids=ids, attention_mask=mask.long(), position_ids=place, cache=cache, use_cache=True
        )
        cache, law = output.cache, output.logits[:, -1].float().log_softmax(-1)
        (first, second), token = law.topk(2).values.unbind(1), law.argmax(1)
        steps.append(torch.stack([token, first, -(law.exp() * law).sum(1), first - second], 1).double().cpu())
        done |= torch.isin(token, ends)
        if bool(done.all()):
            break
        ids, place = token[:, None], place[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    stacked, last = torch.stack(steps, 1).numpy(), set(tokenizer.line_ends)
    for row in stacked:
        tokens = row[:, 0].astype(np.int64).tolist()
        length = next((at for at, token in enumerate(tokens) if token in last), len(tokens))
        told = row[: length + 1, 1:].T.tolist()
        yield Generated(tokenizer.text(tokens[:length]).strip(), *map(tuple, told))
