"""Language models of transformers as parents: made on the spot, saved in folders as the hub has them."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from neural_branching.errors import InputError
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.networks.readout import Readout
from text_writing import TINY, save_model, save_tokenizer

TEXTS = ["play the music", "server", "a simple fast puzzle with midi audio for the client of a proxy"]


def loaded(folder: Path, kind: str, **options: object) -> HuggingFaceText:
    """A network with weights large enough that what is not masked shows."""
    save_model(folder, kind)
    network = HuggingFaceText((9,), 0, str(folder), **options).eval()  # type: ignore[arg-type]
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.5)
    return network


def ids(network: HuggingFaceText, texts: list[str]) -> torch.Tensor:
    assert network.tokenizer
    return torch.from_numpy(network.tokenizer.encode(texts)[0])


@torch.inference_mode()
@pytest.mark.parametrize("kind", TINY)
def test_a_text_has_the_same_vectors_alone_and_in_a_batch(kind: str, tmp_path: Path) -> None:
    network = loaded(tmp_path, kind)
    batch = ids(network, TEXTS)
    together, mask = dict(network.walk(batch.float(), network.main_stages)), network.mask(batch)
    for row, text in enumerate(TEXTS):
        alone = ids(network, [text])
        assert alone.shape[1] < batch.shape[1] or row == 2
        by_itself = dict(network.walk(alone.float(), network.main_stages))
        for readout in map(Readout, ("auto", "mean_token", "first_token", "last_token")):
            for stage in network.main_stages:
                token = network.token_readout(stage)
                one, own = (
                    readout(by_itself[stage], token),
                    readout(together[stage], token, mask)[row : row + 1],
                )
                torch.testing.assert_close(one, own, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("kind", TINY)
def test_stages_are_what_transformers_computes(kind: str, tmp_path: Path) -> None:
    network = loaded(tmp_path, kind)
    batch = ids(network, [TEXTS[2]])
    output = network.bare(input_ids=batch.long(), output_hidden_states=True)
    found = dict(network.walk(batch.float(), network.main_stages))
    first, *blocks, last = network.main_stages
    assert last == "output"
    assert len(blocks) == 2
    torch.testing.assert_close(found[last], output.last_hidden_state)
    torch.testing.assert_close(found[blocks[0]], output.hidden_states[1])
    if kind != "GPT2":  # which adds places behind the embeddings of words
        torch.testing.assert_close(found[first], output.hidden_states[0])


def test_the_default_is_the_mean_or_the_last_token_of_a_causal_model(tmp_path: Path) -> None:
    kinds = {kind: save_model(tmp_path / kind, kind) for kind in TINY}
    causal = {kind: HuggingFaceText((9,), 0, str(folder)).last_token for kind, folder in kinds.items()}
    assert causal == {"Bert": False, "GPT2": True, "Llama": True, "Roberta": False}


def test_masked_readouts_are_their_closed_forms() -> None:
    output = torch.randn(2, 4, 3)
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    mean, last = Readout("mean_token")(output, None, mask), Readout("auto")(output, "last_token", mask)
    torch.testing.assert_close(mean, torch.stack([output[0, :2].mean(0), output[1].mean(0)]))
    assert torch.equal(last, torch.stack([output[0, 1], output[1, 3]]))
    assert torch.equal(Readout("first_token")(output, None, mask), output[:, 0])
    with pytest.raises(InputError, match=r"^readout is 'flatten', and texts have different numbers"):
        Readout("flatten")(output, None, mask)


def test_long_texts_are_cut_and_counted(tmp_path: Path) -> None:
    tokenizer = HuggingFaceText((9,), 0, str(save_model(tmp_path)), tokens=5).tokenizer
    assert tokenizer
    found, cut = tokenizer.encode(TEXTS)
    assert found.shape == (3, 5)
    assert cut == 1
    assert (found[1] >= 0).sum() == 3


def test_an_outline_knows_all_shapes(tmp_path: Path) -> None:
    for kind in TINY:
        save_model(tmp_path / kind, kind)
        with torch.device("meta"):
            network = HuggingFaceText((9,), 0, str(tmp_path / kind)).eval()
            assert network(torch.zeros(2, 7)).shape == (2, 7, 16)


def test_another_tokenizer_is_another_identity(tmp_path: Path) -> None:
    save_model(tmp_path)
    before = HuggingFaceText((9,), 0, str(tmp_path)).resolved
    save_tokenizer(tmp_path, ends=False)
    after = HuggingFaceText((9,), 0, str(tmp_path)).resolved
    assert before["config"] == after["config"]
    assert before["tokenizer"] != after["tokenizer"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 3}, r"^A language model gives no logits of the data's labels"),
        ({"weights": "x.pth"}, r"^weights is 'x\.pth': it must be null or pretrained"),
        ({"tokens": 65}, r"^tokens is 65: .* takes 3 to 64 tokens of a text\.$"),
        ({"tokens": 2}, r"^tokens is 2: "),
        ({"tokens": 0}, r"^tokens is 0: it must be a whole number of at least 1"),
        ({"model": "no/such"}, r"^model is 'no/such', which cannot be loaded: .*"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    options: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    given = {"num_classes": 0, "model": str(save_model(tmp_path)), **options}
    with pytest.raises(InputError, match=message):
        HuggingFaceText((9,), **given)  # type: ignore[arg-type]


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, tokenizer=False)
    with pytest.raises(InputError, match=r"^model is '.*', which comes without a tokenizer: .*\.$"):
        HuggingFaceText((9,), 0, str(tmp_path))


def test_models_of_other_tasks_are_refused(tmp_path: Path) -> None:
    vision = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    vision.save_pretrained(tmp_path / "vision")
    with pytest.raises(InputError, match=r"^model is .*, a ViTModel, which takes no texts\.$"):
        HuggingFaceText((9,), 0, str(tmp_path / "vision"))
    transformers.T5Config(d_model=16, num_layers=1, num_heads=2).save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match=r"which makes a text of another \(t5\): choose an encoder"):
        HuggingFaceText((9,), 0, str(tmp_path / "t5"))


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    file = save_model(tmp_path) / "model.safetensors"
    state = load_file(file)
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 'encoder\.layer\.1\.output\.dense\.weight' of the model"):
        HuggingFaceText((9,), 0, str(tmp_path))


def test_code_that_comes_with_a_model_never_runs(tmp_path: Path) -> None:
    save_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    config["model_type"] = "unheard_of"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match=r"^model is .*, which cannot be loaded"):
        HuggingFaceText((9,), 0, str(tmp_path))
    assert not (tmp_path / "ran").exists()
