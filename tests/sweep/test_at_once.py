"""Concurrent runs: how they are handed out, turns, their number, and lines that are not mixed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan import reproduce
from fastgan.config import command_line
from fastgan.errors import ConfigError, RunError
from fastgan.runtime import stages, threads
from fastgan.runtime.ranks import RankInfo
from fastgan.runtime.turns import SharedTurns
from fastgan.sweep import at_once
from fastgan.sweep.at_once import Crew, on_cpu, on_gpu
from fastgan.sweep.results import RunKey

KEYS = [RunKey("uniform", split, 0) for split in range(1, 6)]


# --- the crew ---


def crew(takes: list[Any], keys: list[RunKey] = KEYS) -> Crew:
    @contextmanager
    def worker(train_one: Any) -> Iterator[Any]:
        yield train_one

    return Crew(keys, [worker(train_one) for train_one in takes])


def test_each_run_is_handed_out_once_and_in_order() -> None:
    taken: list[RunKey] = []
    assert crew([taken.append] * 3).train() is None
    assert sorted(taken, key=KEYS.index) == KEYS
    taken.clear()
    assert crew([taken.append]).train() is None and taken == KEYS


def test_a_signal_to_one_worker_stops_all() -> None:
    assert crew([lambda key: signal.SIGTERM]).train() == signal.SIGTERM


def test_a_signal_after_the_last_run_is_ignored() -> None:
    assert crew([lambda key: os.kill(os.getpid(), signal.SIGTERM)], KEYS[:1]).train() is None


def test_an_unexpected_error_keeps_its_traceback_and_names_the_run() -> None:
    def breaks(key: RunKey) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        crew([breaks]).train()
    assert raised.value.__notes__ == ["uniform-split01-seed0: ZeroDivisionError; the other runs were finished"]


def test_a_full_gpu_memory_is_a_one_line_error() -> None:
    def breaks(key: RunKey) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    with pytest.raises(RunError, match="^uniform-split01-seed0: the GPU's memory is full: lower --runs-at-once"):
        crew([breaks]).train()


# --- turns ---


def test_turns_exclude_each_other_without_deadlock() -> None:
    """Four threads train, and enter sections for one thread and sections that exclude all others."""
    turns, working, one, wrong = SharedTurns(), [0], [0], []
    lock = threading.Lock()

    def count(what: list[int], by: int) -> int:
        with lock:
            what[0] += by
            return what[0]

    def run(seed: int) -> None:
        with turns.within():
            for i in range(200):
                turns.between()
                count(working, 1)
                time.sleep(0)
                count(working, -1)
                if i % 7 == seed:
                    with turns.one():
                        wrong.extend(["two in one place"] if count(one, 1) != 1 else [])
                        count(one, -1)
                if i % 31 == seed:
                    with turns.alone():
                        wrong.extend(["not alone"] if working[0] or count(one, 1) != 1 else [])
                        time.sleep(0.001)
                        wrong.extend(["not alone"] if working[0] else [])
                        count(one, -1)

    running = [threading.Thread(target=run, args=(seed,), daemon=True) for seed in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(30)
    assert not any(thread.is_alive() for thread in running) and not wrong


def test_an_error_releases_the_turn() -> None:
    turns = SharedTurns()
    for place in (turns.one, turns.alone):
        with pytest.raises(ZeroDivisionError), turns.within(), place():
            raise ZeroDivisionError
    with turns.within(), turns.alone():
        assert turns._at_work == 1
    assert turns._at_work == 0


# --- lines ---


def test_lines_of_several_threads_are_whole_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    def speak(name: str) -> None:
        with stages.named(name), stages.stage("training"):
            for i in range(200):
                stages.say(f"line {i}")

    speaking = [threading.Thread(target=speak, args=(f"run{i}",)) for i in range(4)]
    for thread in speaking:
        thread.start()
    for thread in speaking:
        thread.join()
    stages.say("not named")
    printed = capfd.readouterr().err.splitlines()
    assert sorted(printed) == sorted(["not named", *(f"run{n}: line {i}" for n in range(4) for i in range(200))])


# --- how many ---


def test_how_many_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [80 << 30]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 80 << 30))
    device = torch.device("cuda")
    assert on_gpu(0, 100, device, captured=True) == at_once.MOST
    assert on_gpu(0, 3, device, captured=True) == 3
    assert on_gpu(0, 0, device, captured=True) == 1
    assert on_gpu(0, 100, device, captured=False) == 1
    assert on_gpu(6, 100, device, captured=False) == 6
    free[0] = 2 * at_once.RUN_BYTES
    assert on_gpu(0, 100, device, captured=True) == 2
    free[0] = 1
    assert on_gpu(0, 100, device, captured=True) == 1
    with pytest.raises(ConfigError, match="--runs-at-once 33: a GPU has streams for 32; lower it"):
        on_gpu(33, 100, device, captured=True)


def test_how_many_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available", lambda: 8)
    assert on_cpu(1, 10, 0, RankInfo()) == (1, 0) and on_cpu(1, 10, 3, RankInfo(1, 2)) == (1, 3)
    assert on_cpu(2, 10, 0, RankInfo()) == (2, 4) and on_cpu(3, 10, 0, RankInfo()) == (3, 2)
    assert on_cpu(8, 5, 1, RankInfo()) == (5, 1)
    with pytest.raises(ConfigError, match="--runs-at-once 9: with 1 thread each, these runs need 9 processors, and"):
        on_cpu(9, 10, 0, RankInfo())
    with pytest.raises(
        ConfigError, match="these runs need 12 processors, and this process may use 8; lower it, or --threads"
    ):
        on_cpu(3, 10, 4, RankInfo())
    with pytest.raises(ConfigError, match="each of torchrun's processes makes one run at a time"):
        on_cpu(2, 10, 0, RankInfo(0, 2))


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("-1", "--runs-at-once -1: must be 1 or more, or 0"),
        ("many", "runs-at-once"),
        ("9999", "runs need 9999 proc"),
    ],
)
def test_refusals(flag: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--dataset", "digits", "--device", "cpu", "--results", str(tmp_path), "--runs-at-once", flag]
    assert command_line.run_command(reproduce.main, flags) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
