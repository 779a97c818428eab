"""The console takes any text, and whoever acceptances reading it is no error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def start(program: str, **environment: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


HELP = "import sys; sys.argv = ['neural-branching', '--help']; from neural_branching.cli import main; main()"
# What a job does: it logs by a handler that Hydra has set up, it prints, and it goes on.
JOB = """
import logging, sys
from neural_branching.commands import terminal
from neural_branching.report.screen_table import console
terminal.prepare()
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
print("first", flush=True)
sys.stdin.readline()
for number in range(20000):
    logging.info("line %d", number)
console().print("a table")
print("finished", file=sys.stderr)
"""


@pytest.mark.parametrize("program", [HELP, JOB], ids=["help", "job"])
def test_output_whose_reader_has_gone_ends_quietly(program: str) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE
    ) as process:
        os.close(writer)
        if program is JOB:
            assert os.read(reader, 6) == b"first\n"
        os.close(reader)
        _, errors = process.communicate(b"\n")
    assert errors == (b"finished\n" if program is JOB else b"")
    assert process.returncode == 0


def test_a_console_without_the_characters_shows_their_codes() -> None:
    said, errors = start(HELP, **ASCII).communicate()
    assert errors == b""
    assert b"parent \\u2192 activations" in said


def test_an_error_is_shown_on_any_console() -> None:
    program = HELP.replace("--help", "tr\\xe4in")
    process = start(program, **ASCII)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.startswith(b"The command is 'tr\\xe4in', which is unknown")


def test_output_on_a_full_disk_is_a_sentence() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", HELP], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"The disk that holds what is written is full: ")
    assert done.stderr.count(b"\n") == 1


# One thread fails, and whoever waits for it goes on.
THREAD = """
import errno, threading
from neural_branching.commands import terminal
terminal.prepare()
terminal.prepare()  # as in every job of a sweep
def fail():
    raise {error}
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    ("error", "tracebacks"), [("OSError(errno.ENOSPC, 'full')", 0), ("ValueError('wrong')", 1)]
)
def test_a_full_disk_that_a_thread_met_is_left_to_whoever_waits_for_it(error: str, tracebacks: int) -> None:
    said, errors = start(THREAD.format(error=error)).communicate()
    assert (said + errors).count(b"Traceback") == tracebacks
