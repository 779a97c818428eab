"""README and the documentation: size, links, navigation, and every command and path in them."""

import argparse
import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from neural_branching import cli
from neural_branching.config.build import conf_dir

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "neural_branching"
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
COMPOSED = ("train", "route", "cascade", "study", "stages", "specialize", "decompose", "explain", "judge")
NOT_COMPOSED = {"--branches", "--labels", "--partitions", "--linear"}  # of a command that otherwise is
# Folders that a reader has, and the repository has not.
READERS = ("FOLDER", "outputs", "site", "test", "train")


def blocks(*languages: str) -> Iterator[tuple[Path, str]]:
    """Every block of code in one of some languages, with its page."""
    for page in PAGES:
        for language, code in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                yield page, code


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands() -> dict[str, list[str]]:
    """Every command with its arguments → its words, without comments; what stands on several pages once."""
    lines = [line for _, code in blocks("") for line in code.replace("\\\n", " ").splitlines()]
    for page in PAGES:
        lines += re.findall(r"`(neural-branching [^`]+)`", prose(page).replace("\n", " "))
    typed = (shlex.split(line, comments=True) for line in lines if line.startswith("neural-branching "))
    return {shlex.join(words): words[1:] for words in typed if len(words) > 2}


COMMANDS = commands()


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def pages_of(nav: Any) -> Iterator[str]:
    """Every page below an entry of the navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(entry)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings that both GitHub and the site make."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[`*]", "", heading).lower() for heading in headings]
    github = {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}
    ascii_only = [heading.encode("ascii", "ignore").decode() for heading in plain]
    site = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip()) for heading in ascii_only}
    return github & site


def test_the_readme_is_a_front_page() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 8192


def test_every_page_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
    assert sorted(pages_of(settings["nav"])) == there


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in (one or other for one, other in LINK.findall(prose(page))):
        if link.startswith("https://"):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.is_file(), link
        assert not page.is_relative_to(DOCS) or target.is_relative_to(DOCS), f"{link} leaves the site"
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    for path in re.findall(r"`([\w./-]+(?:/|\.py|\.yaml))`", prose(page)):
        of_the_reader = path.split("/")[0] in READERS or re.search("mine|photos", path) or "/" not in path
        assert of_the_reader or any((folder / path).exists() for folder in (ROOT, PACKAGE)), path


def test_every_module_is_in_the_reference() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    described = re.findall(r"^::: neural_branching\.([\w.]+)$", text, re.MULTILINE)
    for file in PACKAGE.rglob("[!_]*.py"):
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        assert any(f"{module}.".startswith(f"{one}.") for one in described), module


def test_python_is_python_and_runs_where_it_needs_no_run() -> None:
    for page, code in blocks("python"):
        program = compile(code, name(page), "exec")
        if "import neural_branching as nb" not in code and "outputs/" not in code:
            exec(program, {"__name__": "example"})


def test_what_python_imports_is_there() -> None:
    for _, code in blocks("python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("neural_branching."):
                place = PACKAGE.joinpath(*str(node.module).split(".")[1:])
                file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
                body = ast.parse(file.read_text(encoding="utf-8")).body
                there = {
                    one.name
                    for line in body
                    for one in getattr(line, "names", [line])
                    if hasattr(one, "name")
                }
                assert {alias.name for alias in node.names} <= there


def is_composed(words: list[str]) -> bool:
    return words[0] in COMPOSED and not NOT_COMPOSED & {*words}


@pytest.fixture(scope="module")
def _composing() -> Iterator[None]:
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        yield


@pytest.mark.usefixtures("_composing")
@pytest.mark.parametrize("line", [line for line, words in COMMANDS.items() if is_composed(words)])
def test_every_experiment_composes(line: str) -> None:
    """The first of its values; of the others, that the options exist."""
    command, *words = COMMANDS[line]
    if "--config-dir" in words:  # which has options of the reader's own
        return
    loader = GlobalHydra.instance().config_loader()
    parser = OverridesParser.create(config_loader=loader)
    first = []
    for override in parser.parse_overrides([word.removesuffix(",…") for word in words if word[0] != "-"]):
        if isinstance(override.value(), IntervalSweep) or not override.is_sweep_override():
            first.append(override.input_line)
            continue
        values = [*override.sweep_string_iterator()]
        first.append(f"{override.input_line.partition('=')[0]}={values[0]}")
        options = loader.get_group_options(override.key_or_group)
        assert not options or set(values) <= set(options)
    compose(
        command
        if command in ("route", "cascade", "specialize", "decompose", "explain", "judge")
        else "train",
        first,
    )


class _ParsedError(Exception):
    """Raised once the words of a command are understood, before it runs."""


@pytest.mark.parametrize("line", [line for line, words in COMMANDS.items() if not is_composed(words)])
def test_every_other_command_is_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_only(*arguments: Any) -> None:
        parse(*arguments)
        raise _ParsedError

    monkeypatch.setattr(sys, "argv", ["neural-branching", *COMMANDS[line]])
    for name in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, parse_only)
    with pytest.raises(_ParsedError):
        cli.main()


def test_the_pages_have_commands() -> None:
    assert {words[0] for words in COMMANDS.values()} == {*cli.COMMANDS}
