"""What every benchmark shares: turns, medians, one record of all lines.

Times are medians over interleaved repeats in one process on synthetic data of the original experiment's
size. No limit is asserted: machines are shared and noisy, and the ratio is what to read. BENCH=short
checks for breakage only and writes nothing.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.table import Table

from neural_branching.environment import environment

SHORT = os.environ.get("BENCH") == "short"
REPEATS = 2 if SHORT else 9
ROOT = Path(__file__).parents[2]

Action = Callable[[], object]
SideBySide = Callable[..., None]


@pytest.fixture(scope="session")
def lines(request: pytest.FixtureRequest) -> Iterator[list[dict[str, object]]]:
    """Every line of this session; kept as JSON and as a table in docs, if no benchmark was left out."""
    found: list[dict[str, object]] = []
    yield found
    if SHORT or request.config.getoption("keyword") or request.session.testsfailed:
        return
    record = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "environment": environment(torch.device("cpu")),
        "repeats": REPEATS,
        "lines": found,
    }
    (ROOT / "outputs").mkdir(exist_ok=True)
    (ROOT / "outputs" / "benchmarks.json").write_text(json.dumps(record, indent=1) + "\n")
    (ROOT / "docs" / "benchmarks.md").write_text(_page(record))


def _page(record: dict[str, object]) -> str:
    versions = record["environment"]["versions"]  # type: ignore[index]
    where = ", ".join(f"{name} {version}" for name, version in versions.items())
    table = [
        f"| {line['what']} | {line['beside']} | {line['threads']} | {line['ours']:.1f} | {line['plain']:.1f} "
        f"| {line['ratio']:.2f} ({line['low']:.2f}–{line['high']:.2f}) |"
        for line in record["lines"]  # type: ignore[attr-defined]
    ]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"`make bench` writes this page: {record['repeats']} interleaved repeats in one process on "
            f"{record['cores']} cores; {where}. A ratio is the median of ours over theirs, turn by turn, "
            "with its range.",
            "",
            "| ours | beside | threads | ours, ms | theirs, ms | ratio |",
            "|---|---|---|---|---|---|",
            *table,
            "",
        ]
    )


@pytest.fixture
def side_by_side(lines: list[dict[str, object]]) -> SideBySide:
    """Times two actions in turns after one unmeasured round, cleans up untimed, records and prints a line."""

    def measure(what: str, beside: str, plain: Action, ours: Action, clean_up: Action = lambda: None) -> None:
        seconds: dict[str, list[float]] = {"plain": [], "ours": []}
        for repeat in range(REPEATS + 1):
            for name, action in (("plain", plain), ("ours", ours)):
                start = time.perf_counter()
                action()
                if repeat:
                    seconds[name].append(time.perf_counter() - start)
            clean_up()
        ratios = [mine / base for mine, base in zip(seconds["ours"], seconds["plain"], strict=True)]
        line = {
            "what": what,
            "beside": beside,
            "threads": torch.get_num_threads(),
            **{name: 1000 * statistics.median(values) for name, values in seconds.items()},
            "ratio": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
        }
        lines.append(line)
        table = Table(title=f"{what}\nbeside {beside}\n{line['threads']} threads, {REPEATS} repeats")
        for heading in ("plain [ms]", "ours [ms]", "ratio, median", "ratio, range"):
            table.add_column(heading, justify="right")
        table.add_row(
            f"{line['plain']:.2f}",
            f"{line['ours']:.2f}",
            f"{line['ratio']:.2f}",
            f"{line['low']:.2f}–{line['high']:.2f}",
        )
        Console(width=110).print(table)

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
