"""Runs the command line in processes that are forked from one that has imported everything.

A process of its own takes seconds to import torch; a fork takes milliseconds, and can be killed at
any moment of its work. Each line on the standard input is a JSON list: the folder to work in, how
many processes, after how many seconds they are killed (null: never), and the arguments. Each answer
is a JSON list: the exit code of every process, and how many seconds it took to the last one's end.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

from neural_branching import cli, pipeline  # noqa: F401
from neural_branching.report import run_report, summary, tables, tensorboard, tree_report  # noqa: F401


def start(folder: str, arguments: list[str], name: str) -> int:
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    os.chdir(folder)
    log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["neural-branching", *arguments]
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        if isinstance(stop.code, str):
            print(stop.code)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve(
    folder: str, count: int, seconds: float | None, once: str | None, arguments: list[str]
) -> tuple[list[int], float]:
    """Start processes and kill them after so many seconds, or once a file of this pattern is there."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    children = [start(folder, arguments, f"process{number}.log") for number in range(count)]
    if once:
        running = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while not list(Path(folder).glob(once)) and os.waitid(os.P_PID, children[0], running) is None:
            time.sleep(0.001)
    if seconds is not None:
        time.sleep(max(0.0, seconds - (time.monotonic() - begin)))
    if once or seconds is not None:
        for child in children:
            os.kill(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return codes, time.monotonic() - begin


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(serve(*json.loads(line))), flush=True)
