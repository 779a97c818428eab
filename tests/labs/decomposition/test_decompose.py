"""The command as it is typed: studies, sweeps of them, refusals, editing of what was trained."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pictures
from device import TRAINER
from neural_branching.cli import main
from neural_branching.data.sources.glyphs import COMPONENTS, Glyphs
from neural_branching.errors import InputError
from neural_branching.files.reading import read_json
from neural_branching.labs.decomposition.editing import open_autoencoder, reconstruct, swap
from tiny import glyphs

TINY = (
    *glyphs(3, size=16, train=20, test=8),
    *(
        "subset=all",
        "autoencoder.network.width=4",
        "autoencoder.network.latent=4",
        "autoencoder.fit.epochs=2",
    ),
    *("repeats=2", "shuffles=19", "splits=2", "examples=36", "trainer.progress=false", *TRAINER),
)
DRAW = "neural_branching.labs.decomposition.decomposition_report.draw"


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["neural-branching", "decompose", *arguments])
    main()


def only_run(outputs: Path) -> Path:
    [results] = outputs.rglob("results.json")
    return results.parent


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decompositions")
    with pytest.MonkeyPatch.context() as patch, pictures.rendering():
        typed(patch, f"outputs={folder}", *TINY)
    return folder


def test_a_study_leaves_numbers_findings_and_pictures(outputs: Path) -> None:
    run = only_run(outputs)
    results = read_json(run / "results.json")
    assert list(results["seeds"]) == ["0", "1"]
    for one in results["seeds"].values():
        assert list(one) == ["branched", "separate", "untrained", "split"]
        assert sum(one["branched"]["share"]) == pytest.approx(1)
        assert len(one["separate"]["over_epochs"]["gradients"]) == 3
        assert list(one["branched"]["known"]) == list(COMPONENTS)
        assert one["separate"]["ranges"]["chroma"] >= 0
    branched, alone = (results["networks"][role]["parameters"] for role in ("branched", "unbranched"))
    assert alone == pytest.approx(branched, rel=0.3)  # of so narrow ones
    findings = (run / "findings.md").read_text(encoding="utf-8").splitlines()
    assert len(findings) == len(results["findings"]) + 2
    assert {line.replace("\\|", "").count("|") for line in findings} == {11}
    lines = (run / "branches.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("seed,network,branch,error,chroma,frequency,share,error_without,r shape")
    assert len(lines) == 1 + 2 * 3 * 3
    names = (
        "parts",
        "spectra",
        "swaps",
        "scales",
        "features",
        "ablation",
        "use",
        "components",
        "over_epochs",
    )
    for name in names:
        assert (run / f"{name}.png").stat().st_size > 1000
        assert (run / f"{name}.svg").exists()
    assert set(results["written"]["files"]) >= {"findings.md", "branches.csv", "config.yaml"}


def test_what_was_trained_is_found_again(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = read_json(only_run(outputs) / "results.json")
    monkeypatch.setattr(DRAW, lambda *_: {})
    typed(monkeypatch, f"outputs={outputs}", "shuffles=20", *(one for one in TINY if "shuffles" not in one))
    assert "reused branched 0, separate 0, unbranched 0, branched 1" in capsys.readouterr().out
    [again] = [one for one in outputs.rglob("config.yaml") if "shuffles: 20" in one.read_text()]
    after = read_json(again.with_name("results.json"))
    assert after["seeds"]["1"]["branched"]["correlations"] == before["seeds"]["1"]["branched"]["correlations"]
    assert after["seeds"]["1"]["untrained"]["chroma"] == before["seeds"]["1"]["untrained"]["chroma"]
    monkeypatch.setattr("sys.argv", ["neural-branching", "store", "prune", str(outputs), "--dry-run"])
    main()
    assert "autoencoder" not in capsys.readouterr().out
    again.parent.rename(tmp_path / "elsewhere")  # for the other tests


def test_images_are_edited_from_python(outputs: Path) -> None:
    run = only_run(outputs)
    module = open_autoencoder(run, seed=1)
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    parts = module.parts(images)
    torch.testing.assert_close(reconstruct(module, images), module.pixels(parts.sum(1)))
    chosen = module.pixels(parts[:, 1] + 2 * parts[:, 2])
    torch.testing.assert_close(reconstruct(module, images, {0: 0.0, 2: 2.0}), chosen)
    torch.testing.assert_close(swap(module, images, images, 1), reconstruct(module, images))
    others = images.flip(0)
    mixed = module.pixels(parts[:, 0] + parts[:, 1] + parts.flip(0)[:, 2])
    torch.testing.assert_close(swap(module, images, others, 2), mixed)
    with pytest.raises(InputError, match="branch is 3: it must be one of 0 to 2"):
        swap(module, images, others, 3)
    with pytest.raises(InputError, match="branch is -1"):
        reconstruct(module, images, {-1: 0.0})
    with pytest.raises(InputError, match="seed is 5"):
        open_autoencoder(run, seed=5)
    with pytest.raises(InputError, match="branch is True"):
        swap(module, images, others, True)
    with pytest.raises(InputError, match="others has 1 images for 4: give as many"):
        swap(module, images, others[:1], 1)
    for wrong in (images.float() / 255, images[0], images[:, :, :8]):
        with pytest.raises(InputError, match=r"they must be torch\.uint8 of shape"):
            reconstruct(module, wrong)


def test_a_run_that_was_moved_with_its_store_is_opened(outputs: Path) -> None:
    run, images = only_run(outputs), torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    expected = reconstruct(open_autoencoder(run), images)
    moved = outputs.with_name("moved")
    outputs.rename(moved)
    try:
        torch.testing.assert_close(
            reconstruct(open_autoencoder(moved / run.relative_to(outputs)), images), expected
        )
    finally:
        moved.rename(outputs)


def test_glyphs_say_what_they_are_made_of() -> None:
    source = Glyphs(2, 5, image_size=16)
    classes = ("digit_1", "lower_l")
    images, components = source.components(classes)
    examples = source.read(classes)
    assert np.array_equal(images, examples.content[examples.split == examples.split.max()])
    assert list(components) == list(COMPONENTS)
    shape, gradient, hue, noise = components.values()
    assert (shape == shape[:, :1]).all()
    assert np.abs(hue.mean(1)).max() < 1e-6
    assert 0 <= gradient.min() < gradient.max() <= 0.45
    assert noise.std() == pytest.approx(0.15, rel=0.05)
    bare = shape[:, 0] == 0
    seen = (images / 255).transpose(1, 0, 2, 3)[:, bare]
    made = (gradient + noise).transpose(1, 0, 2, 3)[:, bare].clip(0, 1)
    assert seen == pytest.approx(made, abs=1 / 255)


@pytest.mark.thorough
@pytest.mark.usefixtures("rendered")
def test_a_sweep_over_branches_is_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [one for one in TINY if not one.startswith(("repeats", "autoencoder.network.width"))]
    swept = ("autoencoder.network.branches=2,3", "parameters=20000", "code=12", "repeats=1")
    swept += ("autoencoder=variational",)
    monkeypatch.setattr(DRAW, lambda *_: {})
    typed(monkeypatch, "-m", f"outputs={tmp_path}", *options, *swept)
    assert "2 studies, means over seeds" in capsys.readouterr().out
    [table] = tmp_path.rglob("studies.csv")
    with table.open(encoding="utf-8", newline="") as stream:
        studies = [*csv.DictReader(stream)]
    assert [int(one["branches"]) for one in studies] == [2, 3]
    assert [int(one["parameters"]) for one in studies] == pytest.approx([20000] * 2, rel=0.15)
    networks = [read_json(one)["networks"]["branched"] for one in sorted(tmp_path.rglob("results.json"))]
    assert [one["network"]["latent"] for one in networks] == [6, 4]
    assert table.with_name("by_branches.png").stat().st_size > 1000
    monkeypatch.setattr("sys.argv", ["neural-branching", "report", str(table.parent)])
    main()
    assert "2 studies" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["autoencoder.network.branches=1"], "a comparison of branches takes 2 at least"),
        (["autoencoder.network.branches=0"], "autoencoder.network.branches is 0"),
        (["autoencoder.network.branches=abc"], "autoencoder.network.branches is 'abc'"),
        (["autoencoder.network.branches=null"], "autoencoder.network.branches is None"),
        (["autoencoder.network.norm=instance"], "the smallest maps have one pixel"),
        (
            ["data.source.test_per_class=1", "subset=custom", "subset.classes=[digit_0,digit_1]"],
            "has 2 test images of digit_0, digit_1: decompose takes 4",
        ),
        (["data.image_size=20"], "20 is no multiple of it"),
        (["autoencoder.network.norm=layer"], "autoencoder.network.norm is 'layer', which is unknown"),
        (["autoencoder.network.combine=product"], "autoencoder.network.combine is 'product'"),
        (["autoencoder.noise=-1"], "autoencoder.noise is -1"),
        (["autoencoder.beta=-1"], "autoencoder.beta is -1"),
        (["autoencoder.fit.label_smoothing=0.1"], "an autoencoder has no labels"),
        (["autoencoder.fit.monitor=val/accuracy"], "an autoencoder has no labels"),
        (["autoencoder.network.width=1"], "too few for as many parts"),
        (["shuffles=3"], "shuffles is 3"),
        (["splits=1"], "splits is 1"),
        (["repeats=0"], "repeats is 0"),
        (["parameters=0"], "parameters is 0"),
        (["code=0"], "code is 0"),
        (["code=4"], "code is 4: it must be a multiple of the number of branches, 3, that share it"),
        (["score=margin"], "score is unknown"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused_before_training(
    overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as refused:
        typed(monkeypatch, f"outputs={tmp_path}", *TINY, *overrides)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.rglob("autoencoder/*"))


def test_grey_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for name in ("a", "b"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (16, 16), dtype=np.uint8)
                Image.fromarray(np.stack([pixels] * 3, -1)).save(folder / f"{index}.png")
    grey = ("data=image_folder", f"data.root={tmp_path / 'data'}", "data.image_size=16", "subset=all")
    with pytest.raises(SystemExit, match="are grey: decompose asks which branch takes colour"):
        typed(monkeypatch, f"outputs={tmp_path / 'outputs'}", *grey)


@pytest.mark.usefixtures("rendered")
def test_theory_is_a_table_and_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("neural_branching.labs.decomposition.linear_report.RATES", (0.1, 1.2))
    monkeypatch.setattr("neural_branching.labs.decomposition.linear_report.DEPTHS", (2, 3))
    typed(monkeypatch, "--linear", str(tmp_path / "theory"))
    assert "0.585" in capsys.readouterr().out
    assert len((tmp_path / "theory" / "linear_branches.csv").read_text().splitlines()) == 5
    assert (tmp_path / "theory" / "linear_branches.png").stat().st_size > 1000
