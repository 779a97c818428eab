"""Cascades from the command line, as a user types them, and from Python."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import neural_branching as nb
from neural_branching import cli
from neural_branching.errors import InputError
from neural_branching.exported_program import Program
from neural_branching.load_run import load
from neural_branching.report.cascade_simulation import simulate_cascades
from neural_branching.report.figures import cascade_figures
from neural_branching.routing import promises
from neural_branching.routing.descent import answers_of
from tiny import glyphs, networks, recipe

DATA = [
    *glyphs(3, 0),
    *("data.split.train=0.4", "data.split.validation=0.2", "data.split.calibration=0.4"),
]
TINY = [*DATA, *networks((32, 24), None), *recipe(epochs=20, lr=0.01), "logger=none"]
EXITS = "stages=[hidden1,hidden2]"
LOOSE = "promise.target=0.3"


def run(monkeypatch, *arguments: str) -> object:
    monkeypatch.setattr("sys.argv", ["neural-branching", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    return None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of cascades on one store."""
    folder = tmp_path_factory.mktemp("cascades")
    runs = {
        "usual": ["cascade", EXITS, LOOSE],
        "refusing": ["cascade", EXITS, "promise=risk", "promise.target=0.3"],
        "chosen": ["cascade", "stages=[hidden1,hidden2,logits]", "choose=macs", LOOSE],
        "timed": ["cascade", "stages=[hidden1,hidden2,logits]", "choose=milliseconds", LOOSE],
        "hopeless": ["cascade", EXITS, "promise=risk", "promise.target=0.05", "promise.refuse=false"],
        "within": [
            *("route", "hierarchy=glyphs", "~hierarchy.nodes.lower", "threshold=fixed"),
            "+hierarchy.nodes.digit.defer_to=digit_deeper",
            "+hierarchy.nodes.digit.branch_point.stage=hidden1",
            "+hierarchy.nodes.digit_deeper.branch_point.stage=hidden2",
            *("threshold.value=0.6", "score=temperature"),
        ],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, (command, *arguments) in runs.items():
            arguments = [command, *TINY, *arguments, f"hydra.run.dir=outputs/runs/{name}"]
            assert run(patch, *arguments) is None
    return folder / "outputs" / "runs"


def results(place: Path, name: str) -> dict:
    return json.loads((place / name / "results.json").read_text())


def trace(place: Path, name: str) -> list[dict[str, str]]:
    with (place / name / "trace.csv").open() as stream:
        return list(csv.DictReader(stream))


def images_of(place: Path, lines: list[dict[str, str]]) -> np.ndarray:
    [data] = (place.parent / "store" / "data").iterdir()
    return np.load(data / "examples.npy")[[int(line["row"]) for line in lines]]


def test_a_cascade_is_one_run(place: Path) -> None:
    found = results(place, "usual")
    cascade, lines = found["cascade"], trace(place, "usual")
    assert found["command"] == "cascade"
    assert cascade["exits"] == list(found["nodes"]) == ["hidden1", "hidden2"]
    assert [node["defer_to"] for node in found["nodes"].values()] == ["hidden2", None]
    assert cascade["dial"]["certificate"]["bound"] <= 0.3
    assert len(lines) == cascade["test"]["n"] == 30
    right = [line["prediction"] == line["label"] for line in lines]
    differs = [line["prediction"] != line["last_prediction"] for line in lines]
    assert cascade["test"]["accuracy"] == pytest.approx(np.mean(right))
    assert cascade["test"]["differs"] == pytest.approx(np.mean(differs))
    for name, one in cascade["by_exit"].items():
        assert one["n"] == sum(line["exit"] == name for line in lines)
    # 3 × 12 × 12 pixels to 32 units, these to 24; each exit is a matrix to three classes.
    first, second = 432 * 32, 432 * 32 + 32 * 24
    leave = np.array([line["exit"] == "hidden1" for line in lines])
    costs = np.where(leave, first + 32 * 3, second + 32 * 3 + 24 * 3)
    assert leave.sum() > 0
    assert cascade["test"]["macs"]["mean"] == pytest.approx(costs.mean())
    assert cascade["test"]["macs"]["share"] == pytest.approx(costs.mean() / (second + 24 * 3))


def test_the_exits_share_one_temperature_scaled_dial(place: Path) -> None:
    found = results(place, "usual")
    for node in found["nodes"].values():
        assert node["score"]["learns_from"] == "validation"
        assert node["score"]["learned"]["n"] == 24  # 40 images of 3 classes, a fifth
    dial = found["cascade"]["dial"]
    assert dial["n"] == 48  # none of which a temperature has seen
    for line in trace(place, "usual"):
        if line["exit"] == "hidden1":
            assert float(line["confidence"]) >= dial["value"]


@pytest.mark.parametrize("name", ["usual", "refusing", "chosen", "timed", "within"])
def test_new_examples_are_answered_as_in_the_run(place: Path, name: str) -> None:
    lines = trace(place, name)
    predictor = load(place / name)
    images = images_of(place, lines)
    answers = predictor.predict(images)
    for line, one in zip(lines, answers, strict=True):
        if name == "within":
            assert (one.answer or "uncertain") == line["answer"]
            continue
        assert (one.answer or "") == line["prediction"]
        assert one.accepted == (line["exit"] != "refused")
        last = one.trace[-1]
        if one.accepted:
            assert last.node == line["exit"]
            assert last.score == pytest.approx(float(line["confidence"]), rel=1e-4)
        assert not any(step.accepted for step in one.trace[:-1])
    [alone] = predictor.predict(images[:1])
    assert [step.label for step in alone.trace] == [step.label for step in answers[0].trace]
    assert alone.confidence == pytest.approx(answers[0].confidence, rel=1e-5)


def test_what_has_left_is_computed_no_further(place: Path, monkeypatch) -> None:
    predictor = load(place / "usual")
    images = images_of(place, trace(place, "usual"))
    stages, seen = predictor.networks.parent.network.stages, []
    stages["hidden2"].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    answers = predictor.predict(images)
    deferred = sum(len(one.trace) > 1 for one in answers)
    assert 0 < deferred < len(images)
    assert seen == [deferred]
    whole = load(place / "usual")
    monkeypatch.setattr(whole, "_leaves", False)
    assert [one.answer for one in whole.predict(images)] == [one.answer for one in answers]


def test_many_examples_are_answered_some_at_a_time(place: Path, monkeypatch) -> None:
    predictor, images = load(place / "usual"), images_of(place, trace(place, "usual"))
    assert predictor.at_once == 512  # of so narrow layers
    expected, seen = predictor.predict(images), []
    predictor.networks.parent.network.stages["hidden1"].register_forward_hook(
        lambda module, inputs, output: seen.append(len(output))
    )
    monkeypatch.setattr(predictor, "at_once", 7)
    answers = predictor.predict(images)
    assert seen == [7, 7, 7, 7, 2]
    assert [one.answer for one in answers] == [one.answer for one in expected]
    assert [len(one.trace) for one in answers] == [len(one.trace) for one in expected]


def test_an_exit_answers_by_itself(place: Path) -> None:
    predictor, lines = load(place / "usual"), trace(place, "usual")
    images = images_of(place, lines)
    answers = predictor.only("hidden2").predict(images)
    assert [one.answer for one in answers] == [line["last_prediction"] for line in lines]
    early = predictor.only("hidden1").predict(images)
    assert [one.accepted for one in early] == [line["exit"] == "hidden1" for line in lines]
    with pytest.raises(InputError, match="node is 'hidden3', which is unknown"):
        predictor.only("hidden3")


@pytest.mark.parametrize("name", ["usual", "refusing", "within"])
def test_a_cascade_is_one_program(place: Path, name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    predictor = load(place / name, "cpu")
    answers, confidences, accepted = Program(predictor).eval()(torch.from_numpy(predictor.examples))
    names = answers_of(predictor.tree)
    for index, one in enumerate(predictor.predict(predictor.examples)):
        assert names[answers[index]] == (one.answer or "uncertain")
        assert confidences[index].item() == pytest.approx(one.confidence, abs=1e-5)
        assert accepted[index].item() == one.accepted
    if name == "usual":
        assert run(monkeypatch, "export", place / name, tmp_path / "cascade.pt2") is None
        assert re.search(r"answers \d+ test examples as the run does", capsys.readouterr().out)


def test_a_refusing_cascade_refuses_what_no_exit_is_sure_of(place: Path) -> None:
    cascade = results(place, "refusing")["cascade"]
    lines = trace(place, "refusing")
    refused = [line for line in lines if line["exit"] == "refused"]
    assert cascade["by_exit"]["refused"]["n"] == len(refused)
    for line in refused:
        assert line["prediction"] == ""
        assert float(line["confidence"]) < cascade["dial"]["value"]
    assert cascade["test"]["answered"] == pytest.approx(1 - len(refused) / len(lines))


def test_exits_are_chosen_on_validation(place: Path) -> None:
    cascade = results(place, "chosen")["cascade"]
    best = cascade["choice"]["best"]
    assert cascade["choice"]["cascades"] == 4
    assert cascade["exits"] == best[0]["exits"]
    assert cascade["exits"][-1] == "logits"
    allowed = [one["validation"]["cost_share"] for one in best if one["validation"]["broken"] <= 0.3]
    assert best[0]["validation"]["cost_share"] == min(allowed)
    assert cascade["alone"].keys() == {"hidden1", "hidden2", "logits"}
    assert (place / "chosen" / "dial.png").exists()
    timed = results(place, "timed")["cascade"]
    assert timed["choice"]["minimised"] == "milliseconds"
    assert timed["test"]["milliseconds"]["share"] > 0
    assert "latencies" in results(place, "timed")["artifacts"]


def test_what_cannot_be_certified_answers_nothing_and_says_why(place: Path) -> None:
    cascade = results(place, "hopeless")["cascade"]
    assert cascade["test"]["answered"] == 0
    assert "not certifiable" in cascade["dial"]["shortage"]["sentence"]
    assert {
        one.answer for one in load(place / "hopeless").predict(images_of(place, trace(place, "usual")))
    } == {None}


def test_nodes_of_a_hierarchy_defer(place: Path) -> None:
    found = results(place, "within")
    assert list(found["nodes"]) == ["root", "digit", "digit_deeper", "upper"]
    arrivals = found["thresholds"][0]["arrivals"]
    assert arrivals["digit_deeper"]["n"] == arrivals["digit"]["n"] - arrivals["digit"]["accepted"]
    assert found["routers"]["oracle"]["load"].keys() == {"digit", "upper"}


@pytest.mark.thorough
def test_without_stages_every_main_stage_is_an_exit(monkeypatch, capsys, place: Path) -> None:
    monkeypatch.chdir(place.parent.parent)
    assert run(monkeypatch, "cascade", *TINY, LOOSE, "hydra.run.dir=outputs/all") is None
    assert results(place.parent, "all")["cascade"]["exits"] == ["hidden1", "hidden2"]
    said = " ".join(capsys.readouterr().out.split())
    assert "digits: hidden1 > hidden2 · 30 test examples" in said
    assert "Promised of new examples: the answer differs from the last exit's" in said
    assert "reused data, parent, activations, branch hidden1, branch hidden2" in said
    assert {"front.png", "dial.svg", "exits.png", "examples.png"} <= {
        file.name for file in (place.parent / "all").iterdir()
    }


def test_stages_of_an_experiment_are_kept(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    file = tmp_path / "mine" / "experiment" / "two.yaml"
    file.write_text("# @package _global_\nstages: [hidden2, logits]\n")
    assert run(monkeypatch, "cascade", "--config-dir", "mine", *TINY, "experiment=two", LOOSE) is None
    [found] = tmp_path.glob("outputs/runs/*/results.json")
    assert json.loads(found.read_text())["cascade"]["exits"] == ["hidden2", "logits"]


def test_exits_at_several_stages_are_keyed_by_the_last(monkeypatch, place: Path) -> None:
    monkeypatch.chdir(place.parent.parent)
    joined = "stages=[hidden1,hidden2+hidden1]"
    assert run(monkeypatch, "cascade", *TINY, joined, LOOSE, "hydra.run.dir=outputs/runs/joined") is None
    lines = trace(place, "joined")
    answers = load(place / "joined").predict(images_of(place, lines))
    assert [one.answer for one in answers] == [line["prediction"] for line in lines]
    assert len({len(one.trace) for one in answers}) == 2


@pytest.mark.thorough
@pytest.mark.usefixtures("rendered")
def test_a_sweep_trains_once_and_is_summarised(monkeypatch, capsys, place: Path) -> None:
    monkeypatch.chdir(place.parent.parent)
    targets = "promise.target=0.1,0.3"
    swept = ["cascade", "-m", *TINY, EXITS, targets, "branch.seed=range(2)"]
    assert run(monkeypatch, *swept, "hydra.sweep.dir=outputs/sweeps/one") is None
    said = capsys.readouterr().out
    assert "Cascades, means over seeds" in said
    sweep = place.parent / "sweeps" / "one"
    with (sweep / "cascades.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 4
    assert {line["promise"] for line in lines} == {"consistent 0.1", "consistent 0.3"}
    drawn = (sweep / "cascades.svg").read_text()
    assert "last exits alone" in drawn
    assert "as a share of the last exit's" in drawn
    assert run(monkeypatch, "report", str(sweep)) is None
    assert "consistent 0.3" in capsys.readouterr().out
    assert len(nb.summary(sweep)) == 4
    compared = ["report", str(sweep), "--compare"]
    assert run(monkeypatch, *compared, "promise=consistent 0.1", "promise=consistent 0.3") is None
    assert "2 pairs of runs" in capsys.readouterr().out
    with (sweep / "comparison.csv").open() as stream:
        found = {line["metric"]: line for line in csv.DictReader(stream)}
    for metric, column in (("accuracy", "test_accuracy"), ("differs", "test_differs")):
        first, second = (
            np.mean([float(line[column]) for line in lines if line["promise"] == promise])
            for promise in ("consistent 0.1", "consistent 0.3")
        )
        assert float(found[metric]["difference"]) == pytest.approx(second - first, abs=1e-9)
        assert float(found[metric]["low"]) <= second - first <= float(found[metric]["high"])
    assert float(found["last_accuracy"]["difference"]) == 0
    for sides, sentence in (
        (("promis=a", "promis=b"), "'promis', which is unknown: did you mean 'promise'"),
        (("promise=consistent 0.1", "subset=digits"), "name different columns"),
        (("promise=consistent 0.1", "promise=consistent 0.2"), "did you mean"),
    ):
        assert re.search(sentence, str(run(monkeypatch, *compared, *sides)))


@pytest.mark.thorough
@pytest.mark.usefixtures("rendered")
def test_cascades_of_several_parents_are_drawn_by_what_they_cost(monkeypatch, place: Path) -> None:
    monkeypatch.chdir(place.parent.parent)
    swept = ["cascade", "-m", *TINY, EXITS, LOOSE, "parent.network.widths=[32,24],[16,12]"]
    assert run(monkeypatch, *swept, "hydra.sweep.dir=outputs/sweeps/widths") is None
    assert "mean MACs, millions" in (place.parent / "sweeps" / "widths" / "cascades.svg").read_text()
    sides = ["parent.network.widths=[16,12]", "parent.network.widths=[32,24]"]
    assert run(monkeypatch, "report", "outputs/sweeps/widths", "--compare", *sides) is None


@pytest.mark.parametrize(("name", "costs"), [("usual", 1), ("timed", 2)])
def test_the_front_has_every_cost_that_was_measured(place: Path, name: str, costs: int) -> None:
    figure = cascade_figures.front(results(place, name)["cascade"], name)
    assert [axes.get_ylabel() for axes in figure.axes[::costs]] == ["accuracy on test", "AURC on test"]
    found = [axes.get_xlabel() for axes in figure.axes[-costs:]]
    assert [label.split(",")[0] for label in found] == ["mean MACs", "mean time"][:costs]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["stages=[hidden2,hidden1]"], "hidden2 defers to hidden1, which is no deeper"),
        (["stages=[hidden1]"], "a cascade has exits at two or more different stages"),
        (["stages=[hidden1,hidden1]"], "two or more different stages"),
        (["stages=hidden1,hidden2"], r'or write "stages=\[hidden1,hidden2\]" where a list is wanted'),
        (["stages=hidden1"], "two or more different stages"),
        (["stages=[null,hidden1]"], "two or more different stages"),
        (["stages=[[hidden1],hidden2]"], "two or more different stages"),
        (["stages=[hidden1,hiden2]"], "is 'hiden2', which is unknown: did you mean 'hidden2'"),
        ([EXITS, "promise.target=0.001"], "which 48 calibration examples cannot certify .* at least 2,302"),
        ([EXITS, "promise.target=0"], "promise.target is 0: it must be a number"),
        ([EXITS, "choose=macs", "choose.budget=0.01"], "choose.budget is 0.01 .* the cheapest exit, hidden1"),
        ([EXITS, "threshold=fixed"], "threshold"),
        ([EXITS, "promise=certain"], "certain"),
        (
            [EXITS, "experiment=cifar100_seed"],
            "cifar100_seed chooses a threshold, which cascade does not have",
        ),
    ],
)
def test_what_cannot_be_starts_nothing(monkeypatch, place: Path, tmp_path, arguments, sentence) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run(monkeypatch, "cascade", *TINY, *arguments)
    assert re.search(sentence, str(answer)), answer
    assert not (tmp_path / "outputs" / "runs").exists()
    assert not (tmp_path / "outputs" / "store" / "parent").exists()


def test_promises_are_simulated_on_the_answers_of_a_run(monkeypatch, capsys, place: Path, tmp_path) -> None:
    for name in ("usual", "refusing"):
        shutil.copytree(place / name, tmp_path / name)
    arguments = ["simulate", tmp_path, "--target", "0.3", "--examples", "12", "60", "--draws", "100"]
    assert run(monkeypatch, *arguments) is None
    screen = capsys.readouterr().out
    assert "consistent 0.3" in screen
    assert "n = 60" in screen
    with (tmp_path / "cascade_simulation.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    # Both runs have the same exits, so that they are one setting.
    assert [(line["promise"], line["n"]) for line in lines] == [
        *(("consistent 0.3", "12"), ("risk 0.3", "12")),
        *(("consistent 0.3", "60"), ("risk 0.3", "60")),
    ]
    assert all(float(line["broken"]) <= 0.1 + 3 * 0.03 for line in lines)
    few, many = ([float(line["answered"]) for line in lines if line["n"] == n] for n in ("12", "60"))
    assert sum(few) <= sum(many)  # what more examples buy


def test_a_dial_that_no_example_has_been_asked_about_is_seen_to_break_its_promise(
    monkeypatch, place: Path, tmp_path
) -> None:
    shutil.copytree(place / "usual", tmp_path / "usual")
    monkeypatch.setattr(promises, "clopper_pearson_upper", lambda *_: 0.0)  # whatever is tested passes
    [dial, _] = simulate_cascades(tmp_path, 0.01, 0.1, [400], 20)
    assert dial.promise == "consistent 0.01"
    assert dial.broken == 1


def test_runs_and_cascades_of_a_folder_are_both_simulated(monkeypatch, place: Path, tmp_path) -> None:
    shutil.copytree(place / "usual", tmp_path / "usual")
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "train", *TINY, "hydra.run.dir=branch") is None
    assert run(monkeypatch, "simulate", tmp_path, "--examples", "20", "--draws", "5") is None
    assert (tmp_path / "simulation.csv").exists()
    assert (tmp_path / "cascade_simulation.csv").exists()


@pytest.mark.parametrize("broken", ["", "split,label\n", "split,label,answer a,confidence a\ntest,0,1,nan\n"])
def test_exits_that_cannot_be_read_are_named(monkeypatch, place: Path, tmp_path, broken) -> None:
    shutil.copytree(place / "usual", tmp_path / "usual")
    (tmp_path / "usual" / "exits.csv").write_text(broken)
    assert "exits.csv cannot be read" in str(run(monkeypatch, "simulate", tmp_path))


def test_a_node_that_defers_to_a_shallower_one_is_refused(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    nodes = ["~hierarchy.nodes.lower", "+hierarchy.nodes.digit.defer_to=other", "+hierarchy.nodes.other={}"]
    answer = run(monkeypatch, "route", *TINY, "hierarchy=glyphs", *nodes)
    assert re.search(r"digit \(at hidden2\) defers to other \(at hidden2\), which is no deeper", str(answer))


def test_from_python(monkeypatch, place: Path) -> None:
    monkeypatch.chdir(place.parent.parent)
    experiment = nb.Experiment(
        nb.sources.Glyphs(),
        nb.parents.MLP(),
        nb.Cascade("digits", ["hidden1", "hidden2"], promise=nb.promises.Consistent(0.2)),
    )
    spec = experiment.spec()
    assert list(spec.nodes) == ["hidden1", "hidden2"]
    assert str(spec.promise) == "consistent 0.2"
    assert spec.choice is None
    chosen = nb.Cascade("digits", ["hidden1", "hidden2"], choose=nb.ExitChoice(budget=0.9))
    assert nb.Experiment(nb.sources.Glyphs(), nb.parents.MLP(), chosen).spec().choice.budget == 0.9
    with pytest.raises(InputError, match="two or more different stages"):
        nb.Cascade("digits", ["hidden1"])
    with pytest.raises(InputError, match=r"promise is 0\.1: it must be an object of nb\.promises"):
        nb.Cascade("digits", ["hidden1", "hidden2"], promise=0.1)  # type: ignore[arg-type]
