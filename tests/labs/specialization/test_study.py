"""The command as it is typed: studies, sweeps of them, labels and partitions."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

import pictures
from device import TRAINER
from neural_branching.cli import main
from neural_branching.files.reading import read_json
from tiny import glyphs

TINY = (
    *glyphs(3, size=12, train=40, test=20),
    *("subset=all", "parent.network.width=16", "parent.network.kernel=3", "parent.fit.epochs=3", "repeats=2"),
    *("permutations=119", "divisions=19", "examples=100", "trainer.progress=false", *TRAINER),
)


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", "specialize", *arguments])
    main()


def only_run(outputs: Path) -> Path:
    [results] = outputs.rglob("results.json")
    return results.parent


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch, pictures.rendering():
        typed(patch, f"outputs={folder}", *TINY)
    return folder


def test_a_study_leaves_numbers_claims_units_and_pictures(outputs: Path) -> None:
    run = only_run(outputs)
    results = read_json(run / "results.json")
    assert list(results["seeds"]) == ["0", "1"]
    for one in results["seeds"].values():
        assert list(one) == ["branched", "untrained", "plain"]
        assert list(one["branched"]["stages"]) == ["conv1", "conv2", "conv3", "pool"]
        assert "lesions" not in one["untrained"]
    branched, plain = (results["networks"][role]["macs"] for role in ("branched", "plain"))
    assert plain == pytest.approx(branched, rel=0.1)
    assert results["networks"]["branched"]["macs"] == results["networks"]["untrained"]["macs"]
    claims = (run / "claims.md").read_text(encoding="utf-8")
    assert claims.count("\n") == len(results["claims"]) + 4  # header, rule, a blank line and the power
    assert {line.replace("\\|", "").count("|") for line in claims.splitlines()[:-2]} == {11}
    assert re.search(r"studies of 2 seeds find a division \d+ : \d+ in \d+%", claims)
    header, *units = (run / "units.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("seed,network,stage,unit,branch,chroma,frequency,orientation")
    width = results["networks"]["plain"]["network"]["width"]
    assert len(units) == 2 * (2 * (16 + 32 + 64 + 64) + width * (1 + 2 + 4 + 4))
    for name in (
        "filters",
        "features",
        "lesions",
        "classes",
        "singular_vectors",
        "grey",
        "cards_conv1",
        "map_conv3",
    ):
        assert (run / f"{name}.png").stat().st_size > 1000
        assert (run / f"{name}.svg").exists()
    assert set(results["written"]["files"]) >= {"claims.md", "units.csv", "config.yaml"}


def test_the_projector_has_a_line_of_metadata_for_every_vector(outputs: Path) -> None:
    run = only_run(outputs)
    config = ProjectorConfig()
    text_format.Parse((run / "projector_config.pbtxt").read_text(encoding="utf-8"), config)
    assert [one.tensor_name for one in config.embeddings] == ["conv1", "conv2", "conv3", "pool"]
    files = read_json(run / "results.json")["written"]["files"]
    for one in config.embeddings:
        assert {one.tensor_path, one.metadata_path} < set(files)
        vectors = np.loadtxt(run / one.tensor_path, delimiter="\t")
        header, *rows = (run / one.metadata_path).read_text(encoding="utf-8").splitlines()
        assert header.startswith("unit\tbranch\t")
        assert len(rows) == len(vectors)
        assert vectors.shape[1] == read_json(run / "results.json")["examples"]["test"]


@pytest.mark.thorough
def test_what_was_trained_is_found_again_and_kept(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_json(only_run(outputs) / "results.json")
    typed(monkeypatch, f"outputs={outputs}", "lesion=zero", *TINY)
    said = capsys.readouterr().out
    assert "reused branched 0, untrained 0, plain 0, branched 1" in said
    assert "Claims" in said
    [again] = [
        one for one in outputs.rglob("results.json") if "zero" in one.with_name("config.yaml").read_text()
    ]
    after = read_json(again)
    assert after["seeds"]["0"]["untrained"] == before["seeds"]["0"]["untrained"]
    monkeypatch.setattr("sys.argv", ["neural-branching", "store", "prune", str(outputs), "--dry-run"])
    main()
    assert "parent" not in capsys.readouterr().out
    again.parent.rename(outputs.parent / "elsewhere")  # for the other tests


def test_initial_weights_are_those_that_training_starts_from(outputs: Path) -> None:
    results = read_json(only_run(outputs) / "results.json")
    first = results["seeds"]["0"]
    assert first["untrained"]["stages"]["conv1"] != first["branched"]["stages"]["conv1"]
    assert first["untrained"]["validation_accuracy"] == []
    assert len(first["branched"]["validation_accuracy"]) == 3


@pytest.mark.thorough
def test_weights_from_elsewhere_are_measured_without_a_plain_twin(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = only_run(outputs)
    kept = read_json(run / "results.json")["artifacts"]["branched 0"]["path"]
    options = [one for one in TINY if not one.startswith("repeats")]
    given = ("repeats=1", f"parent.checkpoint={kept}/weights.safetensors")
    typed(monkeypatch, f"outputs={tmp_path}", *options, *given)
    [one] = read_json(only_run(tmp_path) / "results.json")["seeds"].values()
    assert list(one) == ["branched", "untrained"]
    assert one["branched"]["lesions"]["colour"]["excess"] is not None
    before = read_json(run / "results.json")["seeds"]["0"]["branched"]
    assert one["branched"]["accuracy"] == pytest.approx(before["accuracy"])
    with pytest.raises(SystemExit, match=r"repeats is 2 while parent\.checkpoint gives weights"):
        typed(monkeypatch, f"outputs={tmp_path}", *options, "repeats=2", given[1])


@pytest.mark.thorough
def test_a_sweep_is_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(
        monkeypatch,
        "-m",
        f"outputs={tmp_path}",
        *TINY,
        "repeats=1",
        "parent.network.join=conv3,logits",
        "branch_point.stage=conv2",
    )
    said = capsys.readouterr().out
    assert "2 studies, means over seeds" in said
    [table] = tmp_path.rglob("studies.csv")
    lines = table.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    assert {one.suffix for one in table.parent.glob("designs.*")} == {".png", ".svg"}
    assert "parent.network.join=conv3" in lines[1]
    monkeypatch.setattr("sys.argv", ["neural-branching", "report", str(table.parent)])
    main()
    assert "2 studies" in capsys.readouterr().out
    sweep = table.parent
    monkeypatch.setattr("sys.argv", ["neural-branching", "report", str(sweep), "--sort", "cka"])
    with pytest.raises(SystemExit, match="has runs of specialize alone, among which --where, --by"):
        main()
    monkeypatch.setattr("sys.argv", ["neural-branching", "report", str(sweep)])
    (next(sweep.glob("0_*")) / "results.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["neural-branching", "report", str(sweep)])
    main()
    assert "repeat the run that made it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["parent=mlp"], "has no branches to compare"),
        (["parent.classes=others"], "subset says which classes networks learn"),
        (["parent.network.branches=1"], "has no branches to compare"),
        (["parent.network.branches=3"], "which branches of 1 : 1 : 1 do not divide"),
        (["parent.network.width=4"], "has 2 units: a branch needs 3 at least"),
        (
            ["parent.network.branches=4", "parent.network.width=12"],
            "units at conv1, too few for 4 parts of 3",
        ),
        (["parent.network.join=conv9"], "parent.network.join is 'conv9', which is unknown"),
        (["parent.network.join=conv2"], "branch_point.stage is 'pool', which is unknown: allowed are conv1"),
        (["permutations=50"], "needs at least 119"),
        (["lesion=knife"], "lesion is 'knife', which is unknown"),
        (["divisions=3"], "divisions is 3"),
        (["repeats=0"], "repeats is 0"),
        (["parent.fit=null"], "parent.fit is null: a study needs networks that are trained"),
        (["search=aurc"], "search is unknown: a configuration has subset"),
        (
            ["experiment=cifar100_fish"],
            "experiment=cifar100_fish chooses a branch, which specialize does not have",
        ),
        (["parent.network.kernel=1"], "neither a frequency nor an orientation"),
        (["score=margin"], "score is unknown"),
    ],
)
def test_what_cannot_be_studied_is_refused_before_training(
    overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as refused:
        typed(
            monkeypatch,
            f"outputs={tmp_path}",
            *(overrides if "parent=mlp" in overrides else (*TINY, *overrides)),
        )
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.rglob("parent/*"))


@pytest.mark.thorough
def test_a_model_of_others_is_lesioned_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [one for one in TINY if not one.startswith(("parent.network", "data.image_size"))]
    typed(
        monkeypatch,
        f"outputs={tmp_path}",
        *options,
        *("data.image_size=32", "parent=torchvision", "parent.model=squeezenet1_1", "parent.fit.epochs=1"),
        *("parent.network.weights=null", "branch_point.stage=features.3.cat", "repeats=1"),
    )
    results = read_json(only_run(tmp_path) / "results.json")
    [one] = results["seeds"].values()
    assert list(one) == ["branched", "untrained"]
    assert set(one["branched"]["lesions"]) == {"colour", "grey", "blurred"}
    lesions = one["branched"]["lesions"]["colour"]
    assert set(lesions["without"]) == {"expand1x1", "expand3x3"}
    assert 0.05 <= lesions["p"] <= 1
    assert (only_run(tmp_path) / "lesions.png").exists()
    assert len(one["branched"]["stages"]) == 8
    reasons = {claim["claim"]: claim["reason"] for claim in results["claims"]}
    assert reasons["More accurate at equal computation"] == "it takes a plain network of equal cost"
    grey = reasons["On grey images the branch of lowest chroma matters more"]
    assert grey.startswith("it takes a network of parent=branched")
    assert not reasons["Other branches make up for a lost one"].startswith("it takes a network")
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["neural-branching", "report", str(tmp_path)])
    main()
    assert "1 study" in capsys.readouterr().out


@pytest.mark.thorough
def test_a_residual_network_is_studied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [one for one in TINY if not one.startswith("parent.network")]
    place = (
        "parent=convnet",
        "parent.network.width=8",
        "parent.fit.epochs=1",
        "branch_point.stage=block2.add",
    )
    typed(monkeypatch, f"outputs={tmp_path}", *options, *place)
    results = read_json(only_run(tmp_path) / "results.json")
    assert list(results["seeds"]["1"]["branched"]["stages"]) == ["block1.add", "block2.add", "block3.add"]
    [consistency] = [one for one in results["claims"] if one["claim"].startswith("Branches divide the work")]
    assert "matched by features at block2.add" in consistency["measure"]  # the branches of which are its own
    assert consistency["p"]
    plain = results["seeds"]["1"]["plain"]  # without shortcuts
    assert list(plain["stages"]) == ["block1.add", "block2.add", "block3.add"]
    assert plain["lesions"]["colour"]["without"].keys() == {"block2.residual.4", "block2.shortcut.1"}
    reasons = {one["claim"]: one["reason"] for one in results["claims"]}
    assert "plain network" not in reasons["More accurate at equal computation"]
    assert "never below 0" in reasons["Activity is sparser"]  # what is added may be
    assert (only_run(tmp_path) / "classes.png").exists()


def test_grey_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, class_folders: object
) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for name in ("a", "b"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (12, 12), dtype=np.uint8)
                Image.fromarray(np.stack([pixels] * 3, -1)).save(folder / f"{index}.png")
    with pytest.raises(SystemExit) as refused:
        typed(
            monkeypatch,
            f"outputs={tmp_path}",
            "data=image_folder",
            f"data.root={tmp_path / 'data'}",
            "data.image_size=12",
            "subset=all",
            "parent.network.kernel=3",
        )
    assert "are grey" in str(refused.value)
    assert not list(tmp_path.rglob("parent/*"))


def test_labels_of_a_file_are_located(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "labels.json"
    content = {
        "stage": "mixed3a",
        "units": 256,
        "branches": {"1x1": ["0-63"], "3x3": ["64-191"], "5x5": ["192-223"], "pool": ["224-255"]},
        "labels": {"colour": ["224-232"], "lines": [0, 1, 70]},
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    typed(monkeypatch, "--labels", str(file))
    said = capsys.readouterr().out
    assert "2.485e-09" in said
    assert "9 of 9" in said
    pictures = tmp_path / "labels_labels_by_branch"
    assert {one.name for one in pictures.glob("labels*")} == {"labels_by_branch.png", "labels_by_branch.svg"}
    assert len(list(pictures.glob("events*"))) == 1
    value = re.search(r"Cramér's V ([\d.]+)", said)
    assert value
    assert float(value[1]) <= 1
    content |= {"units": 480, "branches": {"a": ["0-95"], "b": ["96-479"]}, "labels": {"curves": ["0-29"]}}
    file.write_text(json.dumps(content), encoding="utf-8")
    typed(monkeypatch, "--labels", str(file))
    assert "1.679e-23" in capsys.readouterr().out
    assert len(list(pictures.glob("events*"))) == 1  # of the last time alone


def test_partitions_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed(monkeypatch, "--partitions", "parent=torchvision", "parent.model=squeezenet1_1")
    assert "8 divided stages" in capsys.readouterr().out
    typed(monkeypatch, "--partitions", "parent=vit", "parent.network.depth=2")
    assert "6 divided stages" in capsys.readouterr().out  # two layers of heads, four additions
    typed(monkeypatch, "--partitions", "parent=branched")
    assert "0: 8, 1: 8" in capsys.readouterr().out
    typed(monkeypatch, "--partitions", "parent=convnet")
    assert "3 divided stages" in capsys.readouterr().out  # residual blocks
    with pytest.raises(SystemExit, match="it has no branches"):
        typed(monkeypatch, "--partitions", "parent=mlp")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--labels", "x.json", "parent=mlp"],
            "--labels does not go with overrides: allowed beside it are --perm",
        ),
        (["--labels", "x.json", "--trust"], "--labels does not go with --trust"),
        (["--branches", "x", "--labels", "y.json"], "--labels does not go with --branches"),
        (["--branches", "x", "-cn", "train"], "--branches does not go with --config-name"),
        (
            ["--partitions", "--permutations", "9"],
            "--partitions does not go with --permutations: allowed beside",
        ),
        (["--branches", "x", "--permutations", "0"], "--permutations is 0"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=said):
        typed(monkeypatch, *arguments)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--labels", "--help"]])
def test_help_says_what_is_done_instead_of_a_study(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    typed(monkeypatch, *arguments)
    said = " ".join(capsys.readouterr().out.split())
    for line in (
        "specialize --labels FILE [--permutations N]",
        "specialize --branches FOLDER [FOLDER ...] [--permutations N] [--trust]",
        "specialize --partitions [--config-dir DIR] [--config-path DIR] [--config-name NAME] [OVERRIDE ...]",
        "JSON with stage, units, branches and labels",
        "finished runs of train or route, or folders of them",
    ):
        assert line in said
    assert ("options and their defaults" in said) == ("--labels" not in arguments)
