"""``train --help``: every option with its default and what it means, from the docstrings."""

import ast
import importlib.util
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from neural_branching.config.hydra_session import FREE, optional_groups

# Of options that no constructor takes, the class whose attributes they become.
SPECS = {
    "data": "neural_branching.config.data_spec.DataSpec",
    "parent": "neural_branching.config.parent_spec.ParentSpec",
    "branch": "neural_branching.config.branch_spec.BranchSpec",
    "branch_point": "neural_branching.config.branch_spec.BranchSpec",
    "activations": "neural_branching.config.kept_activations.KeptActivations",
    "generation": "neural_branching.labs.self_evaluation.generation_spec.GenerationSpec",
    "autoencoder": "neural_branching.labs.decomposition.decomposition_spec.AutoencoderSpec",
}
# And of the options that stand alone, by command.
SPECS_OF = {
    **dict.fromkeys(("train", "route", "cascade"), "neural_branching.config.experiment.Experiment"),
    "specialize": "neural_branching.labs.specialization.study_spec.StudySpec",
    "decompose": "neural_branching.labs.decomposition.decomposition_spec.DecompositionSpec",
    "explain": "neural_branching.labs.explanation.explanation_spec.ExplanationSpec",
    "judge": "neural_branching.labs.self_evaluation.self_evaluation_spec.SelfEvaluationSpec",
}
# And of those that are no attribute either.
OTHERS = {
    "stages": "stages of the exits of a cascade, from the first on; left out, all main stages but logits",
    "thresholds": "several thresholds, each evaluated by itself: options laid on the one above",
    "data.root": "folder or file that the source reads",
    "data.image_size": "side that the source resizes to",
    "parent.labels": "what the parent tells apart: fine (classes), coarse (superclasses) or none",
    "parent.classes": "all, others (all but the subset's), or a list",
    "parent.model": "name of the model",
    "parent.weights": "a file or the name of published weights; null for new ones",
    "hierarchy.nodes": "node to classes, superclass or the node within which it lies, and its own options",
    "logger": "where curves appear; null for nowhere",
    "logger.seconds": "least time between two looks at a training; one that takes less is shown with its run",
    "branch.name": "how the branch is called in tables",
    "seed": "of parent and branches, or the first of a study; parent.seed and branch.seed set them apart",
}


def print_options(command: str, overrides: list[str], config_name: str) -> None:
    """Print the groups with their files and the options that the chosen files have.

    Args:
        command: a name of ``SPECS_OF``.
        overrides: as typed, so that options are those of what was chosen; Hydra is initialised.
        config_name: of the primary configuration.

    Raises:
        HydraException: if they cannot be composed.
    """
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra

    config, loader = compose(config_name, overrides), GlobalHydra.instance().config_loader()
    width = shutil.get_terminal_size((100, 24)).columns

    def indented(text: str, spaces: int = 6) -> str:
        return textwrap.fill(text, width, initial_indent=" " * spaces, subsequent_indent=" " * spaces)

    print(f"usage: neural-branching {command} [-m] [GROUP=FILE ...] [OPTION=VALUE ...]\n")
    print(indented("-m runs a job for every combination of comma-separated values.", 0))
    print("\ngroups, each a file of options:")
    for name in [*config, *optional_groups(config_name), "hydra/launcher"]:
        if files := loader.get_group_options(str(name)):
            print(
                f"  {name}={{{'|'.join(files)}}}"
                if len(files) < 9
                else f"  {name}=\n{indented(', '.join(files))}"
            )
    print("\noptions and their defaults, of what is chosen:")
    for place, value, meaning in _options(config, _documented(SPECS_OF[command])):
        print(f"  {place}={value}")
        if meaning:
            print(indented(meaning))
    print("\nHydra's own flags, such as --config-dir and --cfg: --hydra-help.")


def _options(config: DictConfig, documented: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name in config:
        yield from _of(config, str(name), str(name), documented)


def _of(
    node: DictConfig, key: str, place: str, documented: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    inner = None if OmegaConf.is_missing(node, key) else node._get_node(key)
    if isinstance(inner, DictConfig) and len(inner) and not inner._is_none() and place not in FREE:
        target = inner.get("_target_")
        named = str(target) if target else SPECS.get(place)
        mine = _documented(named) if named else {}
        for name in map(str, inner):
            if name != "_target_":
                yield from _of(inner, name, f"{place}.{name}", mine)
    elif isinstance(inner, DictConfig) and not inner._is_none():
        yield place, "{…}" if len(inner) else "{}", OTHERS.get(place) or documented.get(key, "")
    else:
        yield place, _shown(node, key), OTHERS.get(place) or documented.get(key, "")


def _shown(node: DictConfig, key: str) -> str:
    """A value as it would be typed."""
    if OmegaConf.is_missing(node, key):
        return "???  (must be given)"
    try:
        value = node[key]
    except Exception:  # an interpolation of what must be given
        value = OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index,call-overload]
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=False)
    shown = {None: "null", True: "true", False: "false"}
    return shown[value] if value is None or isinstance(value, bool) else str(value)


def _documented(target: str) -> dict[str, str]:
    """Name → what a class's docstring says of it, as an argument or an attribute.

    Read from the source: importing a network would take seconds.
    """
    module, _, name = target.rpartition(".")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return {}
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    docstring = ast.get_docstring(classes[name]) if name in classes else None
    found: dict[str, str] = {}
    inside = False
    for line in (docstring or "").splitlines():
        if line and not line.startswith(" "):
            inside = line in ("Args:", "Attributes:")
        elif inside and re.match(r" {4}\w+: ", line):
            name, _, text = line.strip().partition(": ")
            found[name] = text
        elif inside and line.strip():
            found[name] += f" {line.strip()}"
    return {key: text.replace("``", "").replace("None", "null") for key, text in found.items()}
