"""Studies with a treatment, as they are typed."""

from pathlib import Path

import pytest

import pictures
from device import TRAINER
from neural_branching.cli import main
from neural_branching.files.reading import read_json
from tiny import glyphs

pytestmark = pytest.mark.thorough

TINY = (
    *glyphs(3, size=12, train=30, test=20),
    *("subset=all", "parent.network.width=16", "parent.network.kernel=3", "parent.fit.epochs=3", "repeats=1"),
    *("permutations=119", "divisions=19", "examples=100", "trainer.progress=false", "logger=none", *TRAINER),
)


def typed(monkeypatch: pytest.MonkeyPatch, command: str, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", command, *arguments])
    main()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("treated")
    with pytest.MonkeyPatch.context() as patch, pictures.rendering():
        typed(patch, "specialize", "-m", "treatment=swap,sparse_groups,plant", f"outputs={folder}", *TINY)
    [table] = folder.rglob("studies.csv")
    return table.parent


def test_a_sweep_over_treatments_tells_them_apart(sweep: Path) -> None:
    header, *lines = (sweep / "studies.csv").read_text(encoding="utf-8").splitlines()
    assert header.endswith("treated_accuracy,treated_cka,treated_eta2")
    assert [line.split(",")[1].split()[0].strip('"') for line in lines] == [
        *("treatment=swap", "treatment=sparse_groups", "treatment=plant")
    ]
    assert not any(line.endswith(",") for line in lines)
    parents = {file.parent for file in sweep.parents[1].rglob("store/parent/*/manifest.json")}
    assert len(parents) == 6  # branched, untrained, plain, and three with a treatment


def test_a_treated_network_is_measured_beside_its_twin(sweep: Path) -> None:
    results = read_json(next(sweep.glob("0_*")) / "results.json")
    assert results["treatment"] == {"recipe": 1, "name": "swap", "epoch": 3, "share": 0.5}
    [one] = results["seeds"].values()
    assert list(one) == ["branched", "untrained", "plain", "treated"]
    assert one["treated"].keys() == one["branched"].keys()
    assert {"over_epochs", "treatment", "lesions"} <= one["treated"].keys()
    for stage in ("conv1", "conv2"):
        treated, twin = (one[role]["over_epochs"][stage]["value"] for role in ("treated", "branched"))
        assert len(treated) == 4
        assert treated[:3] == twin[:3]
        assert treated[3] != twin[3]
    by_name = {effect["measure"]: effect for effect in results["effects"] if not effect["stage"]}
    before, after = (by_name[f"η² of chroma {when}"] for when in ("before the swap", "at the end"))
    assert before["treated"] == before["branched"]
    assert before["treated"] == pytest.approx(one["branched"]["over_epochs"]["conv1"]["value"][2])
    assert after["treated"] == pytest.approx(one["treated"]["over_epochs"]["conv1"]["value"][3])
    assert (next(sweep.glob("0_*")) / "effects.csv").read_text(encoding="utf-8").count("\n") > 30
    assert (next(sweep.glob("0_*")) / "over_epochs.png").stat().st_size > 1000


def test_planted_units_do_not_count_for_what_planting_does(sweep: Path) -> None:
    results = read_json(next(sweep.glob("2_*")) / "results.json")
    [one] = results["seeds"].values()
    assert results["treatment"]["name"] == "plant"
    for role in ("treated", "branched"):
        beside = one[role]["beside_forced"]
        assert list(beside) == ["conv1"]
        assert beside["conv1"]["units"] + beside["conv1"]["dead"] == 16 - 2
    [chroma] = [effect for effect in results["effects"] if effect["measure"] == "η² of chroma"]
    found = [
        one[role]["beside_forced"]["conv1"]["features"]["chroma"]["value"] for role in ("treated", "branched")
    ]
    assert [chroma["treated"], chroma["branched"]] == pytest.approx(found)
    assert found[0] != one["treated"]["stages"]["conv1"]["features"]["chroma"]["value"]


def test_what_maps_and_their_means_share_is_corrected_for_once(sweep: Path) -> None:
    found = read_json(next(sweep.glob("0_*")) / "results.json")["effects"]
    shared = {"CKA between branches", "silhouette", "Treves–Rolls", "|r| within − between branches"}
    by_place = {(one["measure"], one["stage"]): one for one in found}
    for measure in shared:
        maps, pooled = by_place[measure, "conv3"], by_place[measure, "pool"]
        assert maps["treated"] == pytest.approx(pooled["treated"], abs=1e-5)
        assert maps["holm"] == pooled["holm"]
    distinct = {(one["measure"], round(one["treated"] - one["branched"], 5)) for one in found}
    least = min(found, key=lambda one: one["p"])
    assert least["holm"] == pytest.approx(min(1.0, least["p"] * len(distinct)))


def test_claims_of_losses_and_feedback_say_what_they_lack(sweep: Path) -> None:
    for job, said in ((0, "it takes treatment="), (1, "one seed would miss")):
        results = read_json(next(sweep.glob(f"{job}_*")) / "results.json")
        claims = {one["claim"]: one for one in results["claims"]}
        assert claims["Losses can encourage it"]["reason"].startswith(said)
        feedback = claims["Branches and their layers feed each other"]
        assert feedback["reason"] == "it takes 4 seeds and 4 epochs"
    assert "at pool, trained with the loss" in claims["Losses can encourage it"]["measure"]
    assert claims["Losses can encourage it"]["null"] is not None


@pytest.mark.parametrize(
    ("command", "overrides", "said"),
    [
        ("specialize", ["treatment=swap", "treatment.epoch=4"], "treatment.epoch is 4: parent.fit."),
        ("specialize", ["treatment=plant", "treatment.units=6"], "treatment.units is 6: the first"),
        ("specialize", ["treatment=decorrelation", "treatment.weight=-1"], "treatment.weight is -1"),
        ("specialize", ["treatment=sparse_groups", "treatment.stage=conv9"], "treatment.stage is 'conv9'"),
        (
            "specialize",
            ["treatment=decorrelation", "parent.network.join=conv2", "branch_point.stage=conv1",
             "treatment.stage=conv2"],
            "treatment.stage is 'conv2', which is unknown",
        ),
        (
            "specialize",
            ["treatment=swap", "parent.network.kernel=[3,5]"],
            "parent.network.kernel is 3, 5: treatment=swap",
        ),
        ("specialize", ["treatment=freeze", "parent.fit=null"], "parent.fit is null"),
        ("specialize", ["treatment=freeze", "parent.fit.keep=last"], "it takes parent.checkpoint=null"),
        (
            "specialize",
            ["treatment=freeze", "parent=torchvision", "parent.model=squeezenet1_1", "parent.fit.keep=every"],
            "treatment is 'freeze', which takes a network of parent=branched",
        ),
        ("train", ["treatment=freeze"], "treatment is for other commands than train"),
        ("route", ["treatment=freeze"], "treatment is for other commands than route"),
    ],
)  # fmt: skip
def test_what_cannot_be_treated_is_refused_before_training(
    command: str, overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*TINY, *overrides] if command == "specialize" else overrides
    if "parent=torchvision" in overrides:
        options = [one for one in options if not one.startswith("parent.network")]
        options += ["data.image_size=32", "parent.network.weights=null", "branch_point.stage=features.3.cat"]
        options += ["parent.fit.patience=null"]
    with pytest.raises(SystemExit) as refused:
        typed(monkeypatch, command, f"outputs={tmp_path}", *options)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.rglob("parent/*"))
