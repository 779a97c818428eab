"""Any encoder of texts or causal language model of Hugging Face's transformers, with its tokenizer."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from neural_branching.errors import ArgumentError, InputError, whole
from neural_branching.networks.huggingface_model import (
    described,
    had,
    import_transformers,
    place_of,
    revision,
    with_weights,
)
from neural_branching.networks.timm_model import PRETRAINED
from neural_branching.networks.tokenizer import USUAL, Tokenizer
from neural_branching.networks.wrapped import ELEMENT, WrappedModule
from neural_branching.selection.array_types import Float, Shaped


class HuggingFaceText(WrappedModule):
    """A language model without its head; its branch points are its submodules and "output".

    Its main stages are the embeddings of the tokens, the output of every block, and "output", the last hidden
    states. Each gives the vectors of all tokens (n, tokens, width); a readout makes one vector of them: by
    default the mean over the text's own tokens, of a causal language model the last of them. Code that comes
    with a model never runs.

    Args:
        in_shape: shape of an example, which says nothing of its tokens.
        num_classes: 0: the model gives no logits of the data's labels.
        model: a folder, a GGUF file, or a name on the hub, as in "sentence-transformers/all-MiniLM-L6-v2".
        weights: "pretrained", safetensors if there are any, else a state dict of tensors alone; None for
            random ones.
        tokens: most tokens that a text may have, longer ones are cut; None for as many as the model takes,
            256 at most.

    Raises:
        InputError: if transformers is not installed, there is no such model or it cannot be downloaded, it
            takes no texts or more than one, it comes without a tokenizer, or its weights are incomplete.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        num_classes: int,
        model: str,
        weights: str | None = PRETRAINED,
        tokens: int | None = None,
    ) -> None:
        if num_classes:
            raise InputError(
                "A language model gives no logits of the data's labels: leave parent.labels at none."
            )
        if weights not in (None, PRETRAINED):
            raise ArgumentError(
                "weights", f"is {weights!r}: it must be null or {PRETRAINED}; parent.model may be a folder."
            )
        if tokens is not None:
            whole(tokens, "tokens", 1)
        transformers = import_transformers()
        place, file = place_of(model)
        commit = None if file else had(model, lambda: revision(transformers, model))
        # Code that comes with a model never runs.
        fixed = {"revision": commit or "main", "trust_remote_code": False, **file}
        config = had(model, lambda: transformers.AutoConfig.from_pretrained(place, **fixed))
        _refuse_other_tasks(config, model)
        own, padding = described(config), getattr(config, "pad_token_id", None) or 0
        config.use_cache = False
        # Of shapes alone nobody can tell what is masked, as fused attention wants to know.
        plain = {"attn_implementation": "eager", "trust_remote_code": False}
        with torch.device("meta"):
            module = had(model, lambda: transformers.AutoModel.from_config(deepcopy(config), **plain))
        if getattr(module, "main_input_name", "") != "input_ids":
            raise ArgumentError("model", f"is {model!r}, a {type(module).__name__}, which takes no texts.")
        places = getattr(config, "max_position_embeddings", None) or USUAL
        tokenizer = Tokenizer(transformers, place, places, tokens, fixed)
        if not torch.empty(0).is_meta:  # of an outline nothing is read
            module = with_weights(type(module), place, config, fixed) if weights else type(module)(config)
        if hasattr(getattr(module, "pooler", None), "dense"):
            module.pooler = None
        super().__init__(module, "output")
        self._config, self._revision = own, commit
        self._had = (place, config, fixed) if weights else None
        self._main = _main_stages(module)
        self._padding = padding  # by which some models count places
        self.tokenizer = tokenizer
        self.last_token = _causal(transformers, config)

    @property
    def main_stages(self) -> tuple[str, ...]:
        """Embeddings of the tokens, every block, and "output"."""
        return (*self._main, self.last)

    @property
    def resolved(self) -> Mapping[str, Any]:
        """The model's configuration and tokenizer, and the revision of one of the hub."""
        assert self.tokenizer
        return {"config": self._config, "revision": self._revision, **self.tokenizer.identity}

    def compute(self, x: Shaped[Tensor, "n tokens"]) -> Float[Tensor, "n tokens width"]:
        """The last hidden states of the tokens of texts."""
        mask = x >= 0
        ids = torch.where(mask, x, self._padding).long()
        # And an encoder, whatever its attention.
        unseen = x.is_meta and not self.last_token
        output: Tensor = self.module(
            input_ids=ids, attention_mask=None if unseen else mask.long()
        ).last_hidden_state
        return output

    def answering(self) -> Any:
        """The causal language model of which this is all but the head.

        Raises:
            InputError: for an encoder, and for random weights, which answer nothing.
        """
        if not self.last_token:
            raise InputError(
                f"The parent is {type(self.bare).__name__}, an encoder, which writes no answers: choose a "
                "causal language model."
            )
        if self._had is None:
            raise InputError("parent.weights is null: a language model answers with published weights alone.")
        place, config, fixed = self._had
        return with_weights(import_transformers().AutoModelForCausalLM, place, config, fixed).eval()

    def element(self, stage: str, output: object) -> object:
        """The hidden states, which blocks return before anything else."""
        return output[0] if isinstance(output, tuple) and output else output

    def walk(
        self, x: Shaped[Tensor, "n tokens"], stages: Sequence[str]
    ) -> Iterator[tuple[str, Shaped[Tensor, "n ..."]]]:
        """As in ``WrappedModule``.

        Raises:
            InputError: also for a stage that gives neither a vector for each token nor one for the text.
        """
        for name, output in super().walk(x, stages):
            if output.ndim != 2 and (output.ndim != 3 or output.shape[1] != x.shape[1]):
                raise InputError(
                    f"The stage {name.partition(ELEMENT)[0]!r} returns shape {tuple(output.shape)} for texts "
                    f"of {x.shape[1]} tokens: it must return a vector for each token, or one for each text."
                )
            yield name, output


def _refuse_other_tasks(config: Any, model: str) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ArgumentError(
            "model",
            f"is {model!r}, which makes a text of another ({config.model_type}): choose an encoder or a "
            "causal language model.",
        )


def _causal(transformers: Any, config: Any) -> bool:
    """Whether a token sees only those before it: language models that cannot fill in a masked token."""
    auto = transformers.models.auto.modeling_auto
    kind = config.model_type
    return (
        kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )


def _main_stages(module: Any) -> tuple[str, ...]:
    """Names of the embeddings of the tokens and of every block."""
    lists = [name for name, one in module.named_modules() if isinstance(one, nn.ModuleList)]
    blocks = min(lists, key=lambda name: name.count("."), default="")
    words = module.get_input_embeddings()
    first = next(name for name, one in module.named_modules() if one is words)
    while (outer := first.rpartition(".")[0]) and not f"{blocks}.".startswith(f"{outer}."):
        first = outer  # with what is added of places, and normalised
    inner = [name for name, _ in module.get_submodule(blocks).named_children()] if blocks else []
    return (first, *(f"{blocks}.{name}" for name in inner))
