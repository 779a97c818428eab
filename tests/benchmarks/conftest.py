"""What every benchmark shares: turns, medians, one record of all lines.

Times are medians over interleaved repeats in one process on synthetic data of the original experiment's
size. No limit is asserted: machines are shared and noisy, and the ratio is what to read. BENCH=short
checks for breakage only and writes nothing; some lines alone (``-k``) replace theirs in what is kept.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.table import Table

from neural_branching.store.environment import environment

SHORT = os.environ.get("BENCH") == "short"
REPEATS = 2 if SHORT else 9
ROOT = Path(__file__).parents[2]

Line = dict[str, Any]
Action = Callable[[], object]
Record = Callable[..., None]
SideBySide = Callable[..., list[float]]
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def lines(request: pytest.FixtureRequest) -> Iterator[list[Line]]:
    """Every line of this session, kept as JSON and as a page of docs beside those measured before."""
    found: list[Line] = []
    yield found
    if SHORT or request.session.testsfailed:
        return
    file = ROOT / "outputs" / "benchmarks.json"
    before = json.loads(file.read_text())["lines"] if file.exists() else []
    kept = {(line["what"], line.get("beside"), line.get("gpu")): line for line in [*before, *found]}
    record = {
        "cores": os.cpu_count(),
        "environment": environment(CPU),
        "repeats": REPEATS,
        "lines": list(kept.values()),
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record, indent=1) + "\n")
    (ROOT / "docs" / "benchmarks.md").write_text(_page(record))


def _page(record: dict[str, Any]) -> str:
    versions = record["environment"]["versions"]
    where = ", ".join(f"{name} {version}" for name, version in versions.items())
    compared: dict[str | None, list[str]] = {None: []}
    grown = []
    for line in record["lines"]:
        if "sizes" in line:
            cells = (f"{size:,}: {seconds:.2f} s, {peak:,.0f} MiB" for size, seconds, peak in line["sizes"])
            grown.append(f"| {line['what']} | {' | '.join(cells)} |")
        else:
            compared.setdefault(line.get("gpu"), []).append(
                f"| {line['what']} | {line['beside']} | {line['threads']} | {line['ours']:.1f} "
                f"| {line['plain']:.1f} | {line['ratio']:.3g} ({line['low']:.3g}–{line['high']:.3g}) |"
            )
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"`make bench` writes this page: up to {record['repeats']} interleaved repeats in one process on "
            f"{record['cores']} cores; {where}. A ratio is the median of ours over theirs, turn by turn, "
            "with its range: below 1, ours is faster. Lines may come from different runs of it.",
            "",
            *_table(compared.pop(None)),
            *(text for gpu, rows in compared.items() for text in ("", f"## {gpu}", "", *_table(rows))),
            "",
            "## Growth",
            "",
            "Wall time of the work and peak memory of its process, torch and Lightning included and pages "
            "of mapped files left out; each size in a new process, once, on one thread. Activations of "
            "images are linear, and written as they come. Branches are trained in stacks of up to 64, so "
            "that 32 take less than three times as long as one; from there on they are linear. Thresholds "
            "are looked up in sorted scores. Jobs are linear behind the start, within what a shared machine "
            "varies by, and add some MiB each where tables are large. A large folder of image files is "
            "walked once per process, and files that have not changed are not read again.",
            "",
            "| what grows | small | medium | large |",
            "|---|---|---|---|",
            *grown,
            "",
        ]
    )


def _table(rows: Sequence[str]) -> list[str]:
    return [
        "| ours | beside | threads | ours, ms | theirs, ms | ratio |",
        "|---|---|---|---|---|---|",
        *rows,
    ]


@pytest.fixture
def record(lines: list[Line]) -> Record:
    """Keeps and prints a line: seconds of ours and of theirs, turn by turn, and a GPU if it was one."""

    def keep(
        what: str, beside: str, plain: Sequence[float], ours: Sequence[float], device: torch.device = CPU
    ) -> None:
        ratios = [mine / base for mine, base in zip(ours, plain, strict=True)]
        line = {
            "what": what,
            "beside": beside,
            "threads": torch.get_num_threads(),
            "plain": 1000 * statistics.median(plain),
            "ours": 1000 * statistics.median(ours),
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            **({"gpu": environment(device)["processor"]} if device.type == "cuda" else {}),
        }
        lines.append(line)
        table = Table(title=f"{what}\nbeside {beside}\n{line['threads']} threads, {len(ours)} repeats")
        for heading in ("plain [ms]", "ours [ms]", "ratio, median", "ratio, range"):
            table.add_column(heading, justify="right")
        table.add_row(
            f"{line['plain']:.2f}",
            f"{line['ours']:.2f}",
            f"{line['ratio']:.3g}",
            f"{line['low']:.3g}–{line['high']:.3g}",
        )
        Console(width=110).print(table)

    return keep


@pytest.fixture
def side_by_side(record: Record) -> SideBySide:
    """Times two actions in turns after one unmeasured round, cleans up untimed, records a line."""

    def measure(
        what: str,
        beside: str,
        plain: Action,
        ours: Action,
        clean_up: Action = lambda: None,
        repeats: int = REPEATS,
        device: torch.device = CPU,
    ) -> list[float]:
        seconds: dict[str, list[float]] = {"plain": [], "ours": []}
        for repeat in range(min(repeats, REPEATS) + 1):
            for name, action in (("plain", plain), ("ours", ours)):
                start = time.perf_counter()
                action()
                if repeat:
                    seconds[name].append(time.perf_counter() - start)
            clean_up()
        record(what, beside, seconds["plain"], seconds["ours"], device)
        return seconds["ours"]

    return measure


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for what is measured."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer switches this off for itself; the plain loop shall not pay for it either."""
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
