"""SIGTERM and Ctrl-C end a command at once with one line, and none is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import processors
import pytest

from fastgan.config.command_line import run_command
from fastgan.errors import CheckpointWriteError, ConfigError, DataError, FastganError
from fastgan.runtime import signals, threads

BOTH = pytest.mark.parametrize("number", signals.NUMBERS)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are others there")


def told(number: int, *, then: Callable[[], object] = lambda: None) -> Callable[[Sequence[str]], int]:
    """A command that gets a signal, and goes on with `then` where the signal does not end it."""

    def main(argv: Sequence[str]) -> int:
        os.kill(os.getpid(), number)
        then()
        return 0

    return main


@BOTH
def test_a_command_ends_with_one_line_and_the_signals_code(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(each) for each in signals.NUMBERS]
    assert run_command(told(number), []) == 128 + number
    assert capsys.readouterr().err == "stopped; the same command starts again\n"
    assert [signal.getsignal(each) for each in signals.NUMBERS] == before


def test_the_remedy_is_said_and_cleaning_up_is_not_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    cleaned = []

    def main(argv: Sequence[str]) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except signals.Stopped as stop:
            stop.remedy = "do that"
            raise
        finally:
            cleaned.append(1)
        return 0

    assert run_command(main, []) == 143 and cleaned
    assert capsys.readouterr().err == "stopped; do that\n"


@BOTH
def test_within_a_run_signals_are_collected(number: int) -> None:
    def main(argv: Sequence[str]) -> int:
        with signals.stop_signals() as received:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)
            assert received == [number, signal.SIGTERM]
        return 7

    assert run_command(main, []) == 7


def test_a_signal_whose_exception_is_lost_stops_the_run_that_follows() -> None:
    def careless(argv: Sequence[str]) -> int:
        with contextlib.suppress(signals.Stopped):  # as in a destructor
            os.kill(os.getpid(), signal.SIGTERM)
        with signals.stop_signals() as received:
            return len(received)

    assert run_command(careless, []) == 1
    with signals.stop_signals() as received:  # outside a command each run begins anew
        assert received == []


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("a process that decodes images ended"), 143, "stopped; "),
        (CheckpointWriteError("disk full"), 1, "error: disk full"),
        (ConfigError("no such thing"), 2, "error: no such thing"),
    ],
)
def test_an_error_after_a_signal_is_still_said(
    error: FastganError, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for one of the data, whose decoding processes the same signal ends."""

    def main(argv: Sequence[str]) -> int:
        with signals.stop_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            raise error

    assert run_command(main, []) == code
    assert capsys.readouterr().err.startswith(words)


def test_in_another_thread_nothing_is_installed() -> None:
    codes: list[int] = []
    before = signal.getsignal(signal.SIGTERM)

    def main(argv: Sequence[str]) -> int:
        with signals.stop_signals() as received, signals.ignored():
            assert signal.getsignal(signal.SIGTERM) == before
            return len(received)

    thread = threading.Thread(target=lambda: codes.append(run_command(main, [])))
    thread.start()
    thread.join()
    assert codes == [0]


SPAWNS = """
import multiprocessing, signal, sys, warnings
from fastgan import __main__ as entry

def state():
    quiet = warnings.showwarning.__module__ == "fastgan.runtime.libraries"
    return signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, quiet

def tell(queue):
    queue.put(state())

def run(main, argv):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=tell, args=(queue,))
    child.start()
    print(state(), queue.get(timeout=60))
    child.join()

if __name__ == "__main__":
    entry.run_command = run
    entry.main()
"""


def test_the_command_speaks_and_its_children_do_not(tmp_path: Path) -> None:
    """They have its argv; a pool that ends them by SIGTERM must not make them say that they are stopped."""
    (tmp_path / "fastgan").write_text(SPAWNS)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "fastgan")],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(False, True) (True, False)\n"


# A library that catches what comes while it is imported.
CATCHES = """
import os, signal
try:
    os.kill(os.getpid(), signal.{})
except BaseException:
    raise RuntimeError("already initialised")
"""


@pytest.mark.parametrize(("name", "number"), [("SIGTERM", 15), ("SIGINT", 2)])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_signal_while_libraries_are_loaded(rank: str, name: str, number: int, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(CATCHES.format(name))
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-m", "fastgan.train", "--device", "cpu"],
        env={"PYTHONPATH": path, "PATH": "", "RANK": rank},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 128 + number
    said = "loading libraries ...\nstopped; the same command starts again\n"
    assert done.stderr == (said if rank == "0" else "")


FLOOD = """
import os, signal, threading, time, torch
from fastgan.runtime import signals, threads
from kernels.products import product

torch.set_num_threads(2)
x, weight = torch.randn(64, 6272), torch.randn(1024, 6272)

def flood():
    while not done:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.001)

done = []
with signals.stop_signals() as received:
    threading.Thread(target=flood).start()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        product(x, weight)
        kept = [bytes(37 * size % 3000) for size in range(500)], [torch.zeros(5 * size % 700) for size in range(200)]
    done.append(1)
    assert len(received) > 100
print("whole")
"""


def test_signals_during_a_product_leave_the_heap_as_it_is(tmp_path: Path) -> None:
    """With AVX2 alone oneDNN's product has the stack pointer in the heap: without a stack of their own handlers write
    there, and malloc ends the process."""
    (tmp_path / "flood.py").write_text(FLOOD)
    done = processors.run(str(tmp_path / "flood.py"), PYTHONFAULTHANDLER="", PYTHONPATH=str(processors.ROOT))
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


WORKERS = """
import os, torch
from fastgan.runtime import signals, threads

def tasks():
    return set(os.listdir("/proc/self/task"))

before = tasks()
threads.choose(2)
for task in tasks() - before:
    status = open(f"/proc/self/task/{task}/status").read()
    mask = int(status.split("SigBlk:")[1].split()[0], 16)
    print([number for number in signals.NUMBERS if mask >> number - 1 & 1] == list(signals.NUMBERS))
print(signals.signal.pthread_sigmask(signals.signal.SIG_BLOCK, []))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
@pytest.mark.skipif(threads.available() < 2, reason="one processor")
def test_torchs_threads_leave_signals_to_the_main_thread(tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text(WORKERS)
    done = processors.run(str(tmp_path / "workers.py"), OMP_NUM_THREADS="2", PYTHONPATH=str(processors.ROOT))
    *workers, own = done.stdout.splitlines()
    assert workers and set(workers) == {"True"} and own == "set()", done.stderr
