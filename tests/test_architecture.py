"""Imports follow the arrow of the design, and what should be quick to import is."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from inspect import signature
from pathlib import Path

import neural_branching
from neural_branching.cli import COMMANDS
from neural_branching.config.build import conf_dir

PACKAGE = Path(neural_branching.__file__).parent
NAME = "neural_branching"

# Rooms from left to right; a room may import from rooms further left, and from itself.
ROOMS = (
    "errors",
    "files",
    "store",
    "selection",
    "routing",
    "data",
    "networks",
    "training",
    "evaluation",
    "config",
    "artifacts",
    "report",
    "predictor",
    "labs",
    "pipeline",
    "load_run",
    "exported_program",
    "execute",
    "facade",
    "commands",
    "cli",
    "__main__",
)
RANK = {room: rank for rank, room in enumerate(ROOMS)}

# Rooms that know less than what lies to their left.
ONLY: dict[str, set[str]] = {
    "selection": {"errors"},
    "networks": {"errors", "selection.array_types"},
    "routing": {"errors", "selection"},
    "evaluation": {"errors", "selection", "routing"},
    "training": {
        *("errors", "store.checkpoint", "store.run_folders"),
        *("selection.array_types", "networks", "data.batches", "data.tensor_data"),
    },
    "config": {
        "errors",
        "store",
        "training.compute",
        "training.loggers",
        "training.recipe",
        "networks.readout",
        "data.hashes",
        "data.inputs.adapter",
        "data.labels",
        "data.sources.source",
        "data.split",
        "data.subset",
        "data.views",
        "routing",
        "selection.scores.learned",
        "selection.scores.score",
        "selection.thresholds.threshold",
    },
}

# Everything that the command line imports before it has checked what was typed.
QUICK = (
    "neural_branching",
    "neural_branching.cli",
    *(f"neural_branching.commands.{name}" for name in COMMANDS),
    "neural_branching.commands.callbacks",
    "neural_branching.config.experiment",
    "neural_branching.facade.declaration",
    "neural_branching.facade.grown",
    "neural_branching.facade.parents",
    "neural_branching.facade.sources",
    "neural_branching.routing.hierarchy",
    "neural_branching.routing.routers",
    "neural_branching.selection.scores.from_logits",
    "neural_branching.selection.scores.from_activations",
    "neural_branching.selection.scores.learned",
    "neural_branching.selection.thresholds.plain",
    "neural_branching.selection.thresholds.guaranteed",
    "neural_branching.selection.thresholds.random_walk",
    "neural_branching.selection.thresholds.on_average",
    "neural_branching.data.split",
    "neural_branching.data.subset",
    "neural_branching.data.labels",
    "neural_branching.networks.readout",
    "neural_branching.data.views",
    "neural_branching.training.loggers",
    "neural_branching.data.table",
    "neural_branching.data.sources.glyphs",
    "neural_branching.data.sources.image_folder",
    "neural_branching.data.sources.vectors",
    "neural_branching.data.sources.texts",
    "neural_branching.report.summary",
    "neural_branching.report.paired",
    "neural_branching.report.guarantee_simulation",
)


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that is executed: what stands under ``if TYPE_CHECKING`` is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            children: list[ast.AST] = [*child.orelse]
        else:
            children = [child]
        for one in children:
            yield one
            yield from running(one)


def imports(module: str) -> Iterator[str]:
    """Full names of the modules and objects that a module imports, anywhere in its code."""
    for node in running(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def own_imports(module: str) -> set[str]:
    """The package's modules that a module imports, without the package's name."""
    found = set()
    for name in imports(module):
        if name.split(".")[0] == NAME:
            inner = name.removeprefix(NAME).removeprefix(".")
            found.add(inner if inner in MODULES else inner.rpartition(".")[0])
    return found


def room_of(module: str) -> str:
    return module.split(".")[0]


def test_the_reader_of_imports_sees_them() -> None:
    assert {"errors", "config.build", "report.results"} <= own_imports("commands.launch")
    assert "store.artifact_store" in own_imports("data.table")
    assert own_imports("errors") == set()
    assert "pipeline" not in own_imports("report.run_report")


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in MODULES if module} == RANK.keys()
    assert own_imports("") == set()


def test_every_command_is_in_the_table_and_has_a_module() -> None:
    there = {module.removeprefix("commands.") for module in MODULES if module.startswith("commands.")}
    assert there == {*COMMANDS, "callbacks", "composition", "jobs", "launch", "option_help", "terminal"}
    for name in COMMANDS:
        assert list(signature(import_module(f"{NAME}.commands.{name}").main).parameters) == ["arguments"]


def test_imports_go_from_right_to_left_only() -> None:
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        for other in own_imports(module)
        if room_of(other) != room_of(module) and RANK[room_of(other)] >= RANK[room_of(module)]
    ]
    assert not wrong


def test_one_place_makes_objects_of_names_and_one_reads_yaml() -> None:
    makers = {
        "hydra.utils.instantiate",
        "hydra.utils.call",
        "hydra.utils.get_object",
        "hydra.utils.get_class",
    }
    assert [module for module in MODULES if makers & set(imports(module))] == ["config.build"]
    loading = [
        module for module, file in MODULES.items() if re.search(r"yaml\.\w*(load|parse)", file.read_text())
    ]
    assert loading == ["files.reading"]
    pickles = {name for module in MODULES for name in imports(module)} & {
        "pickle",
        "dill",
        "joblib",
        "shelve",
    }
    assert not pickles


def test_no_two_modules_have_one_name() -> None:
    names = [file.name for file in MODULES.values() if file.name != "__init__.py"]
    assert len(names) == len(set(names))


def test_few_modules_lie_outside_a_room() -> None:
    assert {module for module in MODULES if module and "." not in module and module not in ROOMS} == set()
    flat = {file.stem for file in PACKAGE.glob("*.py")}
    assert len(flat) <= 9, flat


# Words of this project's own making that no reader knows; the field has others for all of them.
PRIVATE = re.compile(
    r"\b(sureness|examination|judged|guides?|crossings?|shelf|abroad|voice|spoken|learner)\b", re.IGNORECASE
)


def test_no_private_words() -> None:
    wrong = [module for module, file in MODULES.items() if PRIVATE.search(file.read_text())]
    assert not wrong


def test_some_rooms_know_less() -> None:
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        for other in own_imports(module)
        for room in [room_of(module)]
        if room in ONLY and room_of(other) != room
        if not any(other == allowed or other.startswith(f"{allowed}.") for allowed in ONLY[room])
    ]
    assert not wrong


def test_nothing_goes_in_circles_within_a_room() -> None:
    # The package's own __init__ imports its modules, whose home it is.
    graph = {module: own_imports(module) - {room_of(module)} for module in MODULES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_only_the_data_room_knows_image_files() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in imports(module)
        if name.split(".")[0] == "PIL" or name.startswith("torchvision.datasets")
        if room_of(module) != "data"
    ]
    assert not wrong


# What knows images: their sources, the input adapters with what they decode and compare by, and networks
# that are made for images.
OF_IMAGES = {
    *("data.augment", "data.class_folders", "data.decode", "data.files"),
    *(
        "data.inputs.adapter",
        "data.inputs.image_inputs",
        "data.inputs.near_duplicates",
        "data.inputs.text_inputs",
        "data.inputs.vector_inputs",
    ),
    *("data.sources.cifar100", "data.sources.glyphs", "data.sources.image_folder", "data.sources.recognise"),
    *("networks.branched", "networks.convnet", "networks.torchvision_model", "networks.vit"),
    *("networks.backbone", "networks.efficientnet_lite0", "networks.preprocessing", "networks.timm_model"),
    "networks.huggingface_vision",
    *("facade.sources", "facade.parents"),
}
# A key of configurations that sources of images refer to, a limit that decoding has, and what TensorBoard
# calls a picture.
SAID = {
    "config.data_spec": "image_size",
    "commands.option_help": "image_size",
    "commands.predict": "max[-_]pixels",
    "report.tensorboard": r"Summary\.Image|encoded_image_string|image=picture",
}
# Options of data sets of images, and of parents and experiments made for these.
CONF_OF_IMAGES = re.compile(
    r"experiment/|data/(source/)?(cifar100|fish_and_flowers|glyphs|image_folder)|"
    r"parent/(branched|convnet|custom|efficientnet_lite0|huggingface|mlp|timm|torchvision|vit)"
)


def test_only_data_and_networks_for_images_speak_of_images() -> None:
    says = re.compile("image|pixel|uint8", re.IGNORECASE)
    wrong = [
        module
        for module, file in MODULES.items()
        if module not in OF_IMAGES and room_of(module) != "labs"
        if says.search(re.sub(SAID.get(module, "\0"), "", file.read_text(), flags=re.IGNORECASE))
    ]
    conf = conf_dir()
    wrong += [
        name
        for file in sorted(conf.rglob("*.yaml"))
        for name in [file.relative_to(conf).as_posix()]
        if not CONF_OF_IMAGES.match(name) and says.search(file.read_text())
    ]
    assert not wrong
    assert MODULES.keys() >= OF_IMAGES


def test_selection_knows_no_torch() -> None:
    known = {
        name.split(".")[0] for module in MODULES for name in imports(module) if room_of(module) == "selection"
    }
    assert not known & {"torch", "pytorch_lightning", "torchvision"}


def test_a_branch_cannot_reach_a_pixel() -> None:
    reached, todo = set(), ["training.classifier"]
    while todo:
        module = todo.pop()
        if module not in reached:
            reached.add(module)
            todo += own_imports(module)
    assert not {"data.training_examples", "data.table", "data.augment"} & reached
    assert not any(module.startswith("data.sources") for module in reached)


def test_one_place_instantiates() -> None:
    callers = {module for module in MODULES for name in imports(module) if name.endswith(".instantiate")}
    assert callers == {"config.build"}


def test_every_text_file_is_utf_8() -> None:
    """Whatever the locale is: each call that opens text names its encoding."""
    wrong = []
    for module, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            said = {keyword.arg for keyword in node.keywords}
            binary = any(isinstance(one, ast.Constant) and "b" in str(one.value) for one in node.args)
            of_a_path = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) not in NO_PATHS
            if name in ("read_text", "write_text") or (name == "open" and of_a_path and not binary):
                wrong += [f"{module}:{node.lineno}"] * ("encoding" not in said)
    assert not wrong


NO_PATHS = ("os", "Image")


def test_what_checks_input_imports_no_torch() -> None:
    lines = [
        "import sys, importlib",
        f"for name in {QUICK!r}:",
        "    importlib.import_module(name)",
        "    heavy = {'torch', 'pytorch_lightning', 'torchvision', 'jaxtyping'} & sys.modules.keys()",
        "    assert not heavy, f'{name} imports {heavy}'",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
