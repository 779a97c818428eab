"""Files of texts and tiny language models with random weights, for tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WORDS = {
    "games": ("play", "level", "chess", "puzzle", "arcade"),
    "sound": ("music", "audio", "player", "midi", "tone"),
    "net": ("server", "packet", "route", "proxy", "client"),
}
COMMON = ("the", "a", "of", "with", "for", "simple", "fast")


def rows(per_class: int = 40, seed: int = 0, groups: int = 0) -> list[dict[str, Any]]:
    """Texts of 2 to 12 words, of which two in three are of the class; in turn of so many groups, if any."""
    generator = np.random.default_rng(seed)
    found = []
    for label, words in WORDS.items():
        for _ in range(per_class):
            chosen = [
                str(generator.choice(words if generator.random() < 2 / 3 else COMMON))
                for _ in range(generator.integers(2, 13))
            ]
            found.append({"text": " ".join(chosen), "label": label})
    return [{**row, "group": f"g{place % groups}"} if groups else row for place, row in enumerate(found)]


def write_texts(folder: Path, texts: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """A .jsonl file of such texts."""
    file = folder / "texts.jsonl"
    lines = [json.dumps(row) for row in rows() if texts is None] + [json.dumps(row) for row in texts or ()]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def save_tokenizer(folder: Path, *, ends: bool) -> int:
    """A tokenizer of whole words, with marks at both ends of a text or none; the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = (
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *COMMON,
        *(word for words in WORDS.values() for word in words),
    )
    vocabulary = {word: place for place, word in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained(folder)
    return len(names)


TINY: dict[str, dict[str, Any]] = {
    "Bert": {
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
        "max_position_embeddings": 64,
    },
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "Llama": {
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
        "max_position_embeddings": 64,
    },
    "Roberta": {
        **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16},
        **{"max_position_embeddings": 66, "pad_token_id": 0},
    },
}


def save_model(folder: Path, kind: str = "Bert", *, tokenizer: bool = True) -> Path:
    """A model with random weights and its tokenizer, as the hub has them."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    size = save_tokenizer(folder, ends=kind in ("Bert", "Roberta")) if tokenizer else 26
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(vocab_size=size, **TINY[kind])
    transformers.AutoModel.from_config(config).eval().save_pretrained(folder)
    return folder
