"""From texts to token ids, by the tokenizer that a model was trained with."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from neural_branching.errors import ArgumentError, InputError
from neural_branching.networks.huggingface_model import had
from neural_branching.selection.array_types import Int32

PADDING = -1  # where a text has no further token
USUAL = 256  # most tokens of a text, unless said otherwise


class Tokenizer:
    """The tokenizer of a model of Hugging Face, cutting long texts.

    Args:
        transformers: the library.
        model: a folder, or a name on the hub.
        places: how many tokens the model takes, as it says itself.
        tokens: most tokens that a text may have, those that mark its ends among them; None for as many as
            the model takes, 256 at most.
        fixed: which commit, and what else the library is told.

    Attributes:
        tokens: most tokens of a text.

    Raises:
        InputError: if the model comes without a tokenizer, or ``tokens`` is more than it allows.
    """

    def __init__(
        self, transformers: Any, model: str, places: int, tokens: int | None, fixed: Mapping[str, Any]
    ) -> None:
        try:
            self._own = had(model, lambda: transformers.AutoTokenizer.from_pretrained(model, **fixed))
        except ArgumentError as error:
            reason = error.problem.partition("cannot be loaded: ")[2]
            raise ArgumentError(
                "model", f"is {model!r}, which comes without a tokenizer: {reason}"
            ) from error
        # Without files the library makes a tokenizer that knows nothing but the marks of its kind.
        known = self._own.get_vocab().keys() - {*self._own.all_special_tokens}
        if not getattr(self._own, "is_fast", False) or not known:
            raise ArgumentError(
                "model", f"is {model!r}, which comes without a tokenizer: it has no tokenizer.json."
            )
        ends: int = self._own.num_special_tokens_to_add()
        most = int(min(self._own.model_max_length, places))
        self.tokens = min(most, USUAL) if tokens is None else tokens
        if not ends < self.tokens <= most:
            raise ArgumentError(
                "tokens", f"is {self.tokens}: {model} takes {ends + 1} to {most} tokens of a text."
            )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain values that decide the token ids of a text."""
        backend = self._own.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        return {"tokenizer": sha256(backend.to_str().encode()).hexdigest(), "tokens": self.tokens}

    def encode(self, texts: Sequence[str]) -> tuple[Int32[np.ndarray, "n tokens"], int]:
        """Token ids of texts, filled up with −1, and how many texts were cut.

        Raises:
            InputError: for a text without a token.
        """
        found = self._own(list(texts), truncation=True, max_length=self.tokens).encodings
        lengths = [len(one.ids) for one in found]
        if 0 in lengths:
            raise InputError(
                f"The tokenizer makes no token of {texts[lengths.index(0)]!r:.80}: leave it out."
            )
        ids = np.full((len(found), max(lengths)), PADDING, dtype=np.int32)
        for row, one in zip(ids, found, strict=True):
            row[: len(one.ids)] = one.ids
        return ids, sum(bool(one.overflowing) for one in found)

    def prompts(self, texts: Sequence[str]) -> Int32[np.ndarray, "n tokens"]:
        """Token ids of texts that are to be continued, filled up with −1 in front.

        Raises:
            InputError: for a text that would have to be cut.
        """
        ids, cut = self.encode(texts)
        if cut:
            longest = max(texts, key=len)
            raise InputError(
                f"{longest[-60:]!r} ends a prompt of more than {self.tokens} tokens, which is cut: raise "
                "parent.network.tokens or give fewer examples in generation.shots."
            )
        lengths = (ids != PADDING).sum(axis=1)
        return np.stack([np.roll(row, len(row) - length) for row, length in zip(ids, lengths, strict=True)])

    def text(self, ids: Sequence[int]) -> str:
        """The text of some token ids."""
        return str(self._own.decode(list(ids)))

    @cached_property
    def line_ends(self) -> tuple[int, ...]:
        """The tokens that end a line, and those that end a text."""
        newlines = [place for place in range(len(self._own)) if "\n" in self.text([place])]
        return (*newlines, *(one for one in {self._own.eos_token_id} if one is not None))
