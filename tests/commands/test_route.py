"""Systems of branches from the command line, as a user types it."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neural_branching import cli
from neural_branching.report.collect import collect
from neural_branching.report.results import write_results
from neural_branching.report.summary import show, summarize
from sweeps import record
from tiny import glyphs, networks

DATA = [
    *glyphs(3, 3),
    *("data.split.train=0.5", "data.split.validation=0.2", "data.split.calibration=0.3"),
]
TINY = [*DATA, *networks(), "parent.fit.epochs=3", "branch.fit.epochs=3"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["neural-branching", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code
    return None


def results():
    [file] = Path("outputs/runs").glob("*/results.json")
    return json.loads(file.read_text()), file.parent


def test_three_levels_from_the_command_line(monkeypatch, capsys):
    arguments = ["hierarchy=glyphs_by_case", "router=soft", "threshold=risk", "threshold.target=0.5"]
    assert run(monkeypatch, "route", *TINY, *arguments) is None
    found, folder = results()
    assert list(found["nodes"]) == ["root", "digit", "letter", "upper", "lower"]
    assert found["router"] == "soft"
    assert set(found["routers"]) == {
        *("parent_mass", "soft", "max_confidence", "energy", "gate", "oracle", "random")
    }
    assert {"branch letter", "branch upper", "gate root", "gate letter"} < found["artifacts"].keys()
    assert [node["within"] for node in found["nodes"].values()] == [None, "root", "root", "letter", "letter"]
    assert found["nodes"]["upper"]["trunk"] == found["nodes"]["lower"]["trunk"] == "letter"
    for node in record(found)["arrivals"].values():
        assert node["n"] == node["lost"] + node["rejected"] + node["accepted"]
    # The letters' branches grow from the branch that tells their case apart.
    letter = 12 * 8 + 8 * 2
    upper = 8 * 8 + 8 * 3
    digit = 12 * 8 + 8 * 3
    parent = 3 * 144 * 16 + 16 * 12 + 12 * 9
    assert found["cost"]["macs"]["parent"] == parent
    # The mixture asks every branch.
    expected = parent + digit + letter + 2 * upper
    assert found["cost"]["macs"]["path"] == pytest.approx(expected)
    with (folder / "trace.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 90
    assert {line["path"].split(" > ")[0] for line in lines} <= {"digit", "letter"}
    ends = np.mean([line["path"].split(" > ")[-1] == line["label"] for line in lines])
    assert ends == pytest.approx(found["routers"]["soft"]["accuracy"])
    files = {"tree.png", "confusion.svg", "risk_coverage.png", "config.yaml"}
    assert files <= {file.name for file in folder.iterdir()}
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()
    assert {f"test/{name}" for name in ("tree", "confusion", "risk_coverage")} == set(tags["images"])
    row = EventAccumulator(str(folder / "threshold_0")).Reload()
    tags_of = {"accuracy": "test/accuracy", "regret": "test_more/regret"}
    shown = {name: row.Scalars(tag)[0].value for name, tag in tags_of.items()}
    assert shown == pytest.approx({name: found["routers"]["soft"][name] for name in shown}, abs=1e-6)
    for artifact in ("parent", "branch/upper", "gate/letter"):
        assert [event.step for event in events.Scalars(f"{artifact}/val/accuracy")] == [1, 2, 3]
    [table] = [events.Tensors(tag)[0] for tag in tags["tensors"] if "routers" in tag]
    assert "| parent\N{NO-BREAK SPACE}alone |" in table.tensor_proto.string_val[0].decode()
    assert found["environment"]["versions"].keys() >= {"torch", "neural-branching"}
    screen = capsys.readouterr().out
    assert "Routers of glyphs_by_case · 90 test examples" in screen
    assert "back-off" in screen
    assert "MACs per example" in screen


@pytest.mark.thorough
def test_a_sweep_trains_once_and_is_summarised(monkeypatch, capsys):
    arguments = [
        "-m",
        *TINY,
        "router=gate,oracle",
        "branch.seed=0,1",
        "threshold=coverage",
        "threshold.target=0.7",
    ]
    assert run(monkeypatch, "route", *arguments) is None
    [sweep] = Path("outputs/sweeps").iterdir()
    found = [json.loads(file.read_text()) for file in sweep.rglob("results.json")]
    assert len(found) == 4
    assert sum(one["artifacts"]["parent"]["built"] for one in found) == 1
    assert sum(one["artifacts"]["branch digit"]["built"] for one in found) == 2
    assert (sweep / "routers.md").read_text().count("parent alone") == 2
    with (sweep / "routers.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 4 * 7
    screen = capsys.readouterr().out
    assert "seeds 2" in screen
    assert run(monkeypatch, "report", str(sweep)) is None
    assert "seeds 2" in capsys.readouterr().out
    view = ["--where", "router=oracle", "--sort", "accuracy", "--top", "2", "--columns", "accuracy,answered"]
    assert run(monkeypatch, "report", str(sweep), *view) is None
    screen = capsys.readouterr().out
    assert "largest accuracy first: 2 of 8 lines" in screen
    assert "AURC" not in screen
    assert "Answers" not in screen  # a table that has no accuracy to be sorted by
    assert run(monkeypatch, "report", str(sweep), "--by", "router", "--sort", "answered") is None
    screen = capsys.readouterr().out
    assert "Routers" not in screen
    assert "over the runs of a line" in screen
    refused = run(monkeypatch, "report", str(sweep), "--columns", "aurk")
    assert str(refused).startswith("--columns is 'aurk', which is unknown: did you mean 'aurc'?")
    assert len(summarize(sweep, "route").completed) == 4
    assert EventAccumulator(str(sweep)).Reload().Tags()["images"] == ["test/routers"]


def test_certified_systems_say_what_choosing_among_them_costs(monkeypatch, capsys):
    arguments = ["threshold=sgr", "threshold.target=0.9", "router=parent_mass,gate"]
    assert run(monkeypatch, "route", "-m", *TINY, *arguments) is None
    screen = " ".join(capsys.readouterr().out.split())
    assert "2 of these runs are certified, each by itself" in screen
    assert "threshold.delta, for which 0.1 is usual, divided by 2" in screen


def test_what_accepts_nothing_says_why(monkeypatch, capsys):
    # With so strict a root no image arrives below it.
    assert run(monkeypatch, "route", *TINY, "threshold=sgr", "threshold.target=0.01") is None
    found, _ = results()
    assert record(found)["arrivals"]["digit"]["thresholds"]["back_off"]["value"] is None
    screen = " ".join(capsys.readouterr().out.split())
    assert "digit: No example of the calibration or the validation split arrives at the node." in screen
    assert "root: not certifiable with" in screen


@pytest.mark.usefixtures("unillustrated")
def test_failures_of_one_command_are_not_the_others(monkeypatch, capsys, tmp_path):
    for command in ("train", "route"):
        folder = tmp_path / "outputs" / "runs" / command
        folder.mkdir(parents=True)
        failure = {"type": "InputError", "message": f"no disk for {command}", "traceback": ""}
        write_results(folder, {"command": command, "status": "failed", "error": failure})
    assert run(monkeypatch, "route", *TINY) is None
    capsys.readouterr()
    assert [row["run"] for row in summarize(Path("outputs/runs"), "route").failed] == ["route"]
    assert [row["run"] for row in collect(Path("outputs/runs")).failed] == ["train"]


def test_the_budget_of_activations_is_checked_before_training(monkeypatch):
    answer = str(run(monkeypatch, "route", *TINY, "views.budget=10"))
    assert "views.budget is 10" in answer
    # Enough for the base's hidden2, whose stage is not the only one that is asked.
    deep = ["branch_point.stage=block3", "+hierarchy.nodes.digit.branch_point={stage:stem,readout:flatten}"]
    answer = str(run(monkeypatch, "route", *DATA, "parent=convnet", *deep, "views.budget=4000000"))
    assert "at stem take" in answer
    assert not Path("outputs/store/parent").exists()


@pytest.mark.usefixtures("unillustrated")
def test_runs_of_before_commands_had_names_are_summarised(monkeypatch, capsys):
    assert run(monkeypatch, "route", *TINY, "threshold=sgr", "threshold.target=0.9") is None
    found, folder = results()
    del found["thresholds"][0]["answers"]["back_off"]["guarantee"]
    write_results(folder, found)
    for status in ("completed", "failed"):
        old = Path("outputs/runs") / status
        old.mkdir()
        write_results(old, {"status": status, "error": {"message": "no disk"}})
    summary = summarize(Path("outputs/runs"), "route")
    assert [row["run"] for row in summary.completed] == [folder.name]
    assert summary.failed == []
    branches = collect(Path("outputs/runs"))  # whose failure it was, it did not say
    assert [row["error"] for row in branches.failed] == ["no disk"]
    capsys.readouterr()
    show(summary)
    assert "Tables and figures: outputs/runs" in capsys.readouterr().out


@pytest.mark.usefixtures("unillustrated")
def test_a_run_that_is_there_twice_is_one_certificate(monkeypatch, capsys):
    assert run(monkeypatch, "route", *TINY, "threshold=sgr", "threshold.target=0.9") is None
    _, folder = results()
    shutil.copytree(folder, folder.with_name("again"))
    show(summarize(Path("outputs/runs"), "route"))
    assert "are certified" not in capsys.readouterr().out


@pytest.mark.usefixtures("unillustrated")
def test_systems_that_do_not_belong_together_are_told_apart(monkeypatch, capsys):
    assert run(monkeypatch, "route", *TINY, "hydra.run.dir=outputs/runs/a") is None
    first = json.loads(Path("outputs/runs/a/results.json").read_text())

    def beside(name, **changes):
        folder = Path("outputs/runs", name)
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps({**first, **changes}))
        return summarize(Path("outputs/runs"), "route")

    def names(summary):
        return [row["run"] for row in summary.completed]

    odd = beside("b", routers={"parent_mass": {"bound": False, "accuracy": "high"}})
    assert names(odd) == ["a"]
    assert "routers.parent_mass" in odd.unread["b"]
    hostile = Path("outputs/runs/b/results.json")
    hostile.write_text('{"command": "route", "schema_version": ' + "[" * 100_000)
    assert names(summarize(Path("outputs/runs"), "route")) == ["a"]
    others = {kind: {**one, "accuracy": 0.125} for kind, one in first["routers"].items()}
    again = beside("c", routers=others, written={})
    assert "Whether they are earlier than the run that counts cannot be known: " in again.repeated()[-1]
    assert again.mixed == []
    data = {**first["artifacts"]["data"], "key": "f" * 20}
    mixed = beside("d", artifacts={**first["artifacts"], "data": data})
    assert "ffffffff (1): d" in mixed.mixed[0]
    assert len(mixed.groups()) == 2
    show(mixed)
    assert mixed.mixed[0] in capsys.readouterr().out


def test_a_parent_that_knows_only_superclasses_can_route(monkeypatch):
    assert run(monkeypatch, "route", *TINY, "parent.labels=coarse", "score=temperature") is None
    found, _ = results()
    assert found["parent"]["labels"] == "coarse"
    assert "parent_mass" in found["routers"]
    assert found["parent"]["name"] == "mlp"


def test_images_of_no_node_are_counted(monkeypatch):
    nodes = "hierarchy.nodes={digit:{superclass:digit},upper:{superclass:upper}}"
    assert run(monkeypatch, "route", *TINY, f"~{nodes.split('=')[0]}", f"+{nodes}", "router=gate") is None
    found, _ = results()
    assert record(found)["answers"]["back_off"]["foreign"]["n"] == 30
    assert found["routers"]["gate"]["n"] == 60


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("hierarchy.nodes.digit.superclass=digits", "superclass of node 'digit' is 'digits'"),
        (
            "+hierarchy.nodes.digit.branch_point={stage:hidden9}",
            "hierarchy.nodes.digit.branch_point.stage is 'hidden9'",
        ),
        ("+hierarchy.nodes.digit.branch_point={of:branch}", "there is no branch above this node"),
        ("+hierarchy.nodes.digit.branch_point={of:parent}", "branch_point.of is 'parent'"),
        ("+hierarchy.nodes.digit.threshold={value:2}", "hierarchy.nodes.digit.threshold.value is 2"),
        ("+hierarchy.nodes.digit.branch=linear", "choose a group in the defaults list"),
        ("+hierarchy.nodes.digit.branch={examples_per_class:3}", "cannot differ between nodes"),
        ("threshold=false_accept", "threshold=false_accept"),
        ("score=energy", "score=energy of node 'root' needs logits"),
        ("hierarchy.nodes.digit=digit", "nodes.digit is 'digit'"),
        ("parent.labels=coarsely", "parent.labels is 'coarsely'"),
    ],
)
def test_what_cannot_be_starts_nothing(monkeypatch, argument, sentence):
    answer = run(monkeypatch, "route", *TINY, argument)
    assert sentence in str(answer)
    assert "\n" not in str(answer)
    assert not Path("outputs").exists()


def test_runs_of_other_settings_are_kept_apart(monkeypatch, capsys):
    sweep = ["-m", *TINY, "router=oracle", "branch.fit.lr=0.001,0.01", "threshold=random_walk"]
    assert run(monkeypatch, "route", *sweep, "threshold.target=0.4") is None
    screen = capsys.readouterr().out
    assert {"lr", "0.001", "0.01"} <= set(screen.split())
    [folder] = Path("outputs/sweeps").iterdir()
    assert len(summarize(folder, "route").groups()) == 2
    found = [json.loads(file.read_text()) for file in folder.rglob("results.json")]
    promise = record(found[0])["answers"]["back_off"]["promise"]
    assert promise.startswith("a share of at most 0.4 of the answers to new examples is wrong")


def test_nodes_may_differ(monkeypatch):
    node = (
        "+hierarchy.nodes.digit={superclass:digit,branch_point:{stage:hidden1},"
        "branch:{network:{widths:[5]},fit:{epochs:1}},threshold:{value:0.3}}"
    )
    assert run(monkeypatch, "route", *TINY, "~hierarchy.nodes.digit", node) is None
    found, _ = results()
    assert record(found)["arrivals"]["digit"]["thresholds"]["outright"]["value"] == 0.3
    assert record(found)["arrivals"]["upper"]["thresholds"]["outright"]["value"] == 0.96
    assert record(found)["answers"]["back_off"]["promise"] is None


def test_a_branch_that_grows_from_a_branch_has_that_ones_stages(monkeypatch):
    deep = ["hierarchy=glyphs_by_case", "parent=convnet", "branch_point=pool", "parent.network.width=8"]
    stage = "hierarchy.nodes.upper.branch_point.stage=pool"
    answer = str(run(monkeypatch, "route", *TINY[: len(DATA)], *TINY[-4:], *deep, stage))
    assert answer.startswith("hierarchy.nodes.upper.branch_point.stage is 'pool', which is unknown: ")
    assert "hidden1, logits" in answer
    assert run(monkeypatch, "route", *TINY[: len(DATA)], *TINY[-4:], *deep) is None
    found, _ = results()
    assert found["nodes"]["upper"]["branch_point"] == "hidden1"
    assert found["usual"]["branch_point"] == "pool"


def test_several_thresholds_are_one_job(monkeypatch, capsys):
    assert run(monkeypatch, "route", "-m", *TINY, "threshold.value=0.3,0.96") is None
    [file] = Path("outputs/sweeps").rglob("results.json")
    loose, strict = json.loads(file.read_text())["thresholds"]
    assert (loose["threshold"]["rule"], strict["threshold"]["rule"]) == ("fixed 0.3", "fixed 0.96")
    answered = [one["answers"]["back_off"]["answered"] for one in (loose, strict)]
    assert answered[0] > answered[1]
    with (file.parent / "trace.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    for rule, one, share in zip(("fixed 0.3", "fixed 0.96"), (loose, strict), answered, strict=True):
        given = [line[f"answer by {rule}"] for line in lines]
        assert np.mean([answer != "uncertain" for answer in given]) == pytest.approx(share)
        accepted = one["answers"]["back_off"]["levels"]["class"]["n"]
        assert sum(int(line[f"accepted by {rule}"]) for line in lines) == accepted
    assert run(monkeypatch, "route", *TINY, "threshold.value=0.3", "hydra.run.dir=outputs/runs/alone") is None
    alone = json.loads(Path("outputs/runs/alone/results.json").read_text())
    assert alone["thresholds"] == [loose]


@pytest.mark.usefixtures("unillustrated")
def test_a_tree_does_without_a_branch_that_cannot_be_judged_alone(monkeypatch):
    few = ["data.source.train_per_class=5", "data.split.train=0.6", "data.split.calibration=0.2"]
    assert run(monkeypatch, "route", *TINY, *few, "score=temperature", "threshold=risk") is None
    found, _ = results()
    assert "there is only one of each" in found["nodes"]["digit"]["not_evaluated_alone"]
    assert record(found)["arrivals"]["root"]["n"] == 90
