"""The number of threads: what a process may use, what other processes leave, and reports of starvation."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fastgan import evaluate, train
from fastgan.config import command_line
from fastgan.errors import ConfigError
from fastgan.runs import run_folder
from fastgan.runtime import threads
from fastgan.runtime.threads import CHECK_EVERY, REPORT_EVERY, CpuUse, Starvation

BUSY_WITH_OTHERS = threads.busy_with_others


@pytest.fixture(autouse=True)
def _same_threads_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a user's process, without the tests' OMP_NUM_THREADS, on four idle processors."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "available", lambda: 4)
    monkeypatch.setattr(threads, "busy_with_others", lambda: 0.0)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_all_idle_processors_are_used() -> None:
    assert threads.choose(0) == "" and torch.get_num_threads() == 4


@pytest.mark.parametrize(("busy", "count"), [(0.4, 4), (0.6, 3), (1.0, 3), (2.2, 2), (3.9, 1), (17.0, 1)])
def test_busy_processors_are_left_to_others(monkeypatch: pytest.MonkeyPatch, busy: float, count: int) -> None:
    monkeypatch.setattr(threads, "busy_with_others", lambda: busy)
    note = threads.choose(0)
    assert torch.get_num_threads() == count
    assert note == "" if count == 4 else note.startswith(f"{count} thread") and "--threads" in note


def test_a_quota_or_an_affinity_below_torchs_count_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available", lambda: 2)
    threads.choose(0)
    assert torch.get_num_threads() == 2


def test_the_flag_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "busy_with_others", lambda: 4.0)
    threads.choose(3, before=2)
    assert torch.get_num_threads() == 3
    threads.choose(0, before=2)  # a run that goes on: the same weights are worth more than the pace
    assert torch.get_num_threads() == 2
    threads.choose(0, before=64)
    assert torch.get_num_threads() == 4


def test_ranks_share_the_machine_whatever_torchrun_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads.choose(0, processes=2)
    assert torch.get_num_threads() == 2
    threads.choose(0, processes=9)
    assert torch.get_num_threads() == 1


def test_omp_num_threads_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    assert threads.choose(0, before=2) == "" and torch.get_num_threads() == 1


@pytest.mark.parametrize(("requested", "message"), [(5, "may use 4 processors; lower it"), (-1, "must be 1 or more")])
def test_an_impossible_number_is_refused(requested: int, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--threads {requested}: .*{message}"):
        threads.choose(requested)


def test_commands_refuse_it_in_one_line(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for main, flags in ((train.main, ["--run-dir", str(tmp_path / "new")]), (evaluate.main, [str(tiny_run)])):
        for wrong in ("-3", "99", "many"):
            assert command_line.run_command(main, [*flags, "--threads", wrong]) == 2
            (line,) = capsys.readouterr().err.strip().splitlines()
            assert "--threads" in line and wrong in line
    assert not (tmp_path / "new").exists()


def test_a_run_keeps_its_count(tiny_run: Path) -> None:
    assert run_folder.threads_of(run_folder.read_settings(tiny_run)) in (1, 2, 4)
    for odd in ({}, {"threads": "two"}, {"threads": 0}):
        assert run_folder.threads_of({"settings": {}, "environment": odd}) is None


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux's /proc tells it")
def test_a_busy_process_is_seen_and_this_one_is_not_counted() -> None:
    since = CpuUse.now()
    assert since is not None
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:  # this process is busy as well
            pass
        alone = BUSY_WITH_OTHERS(since)
    finally:
        hog.kill()
        hog.wait()
    cores = len(os.sched_getaffinity(0))
    assert alone > 0.3 if cores > 1 else alone > 0.1
    assert alone < cores - 0.3


# --- starved ---


class Machine:
    """Processor seconds as they pass on a machine of the test's own."""

    def __init__(self) -> None:
        self.now = self.ran = self.waits = 0.0

    def pass_(self, seconds: float, ran: float, waits: float) -> None:
        self.now, self.ran, self.waits = self.now + seconds, self.ran + ran, self.waits + waits

    def starvation(self, count: int = 2) -> Starvation:
        return Starvation(count, lambda: (self.ran, self.waits), lambda: self.now)


def test_starvation_is_reported_at_intervals() -> None:
    machine = Machine()
    watch = machine.starvation()
    machine.pass_(CHECK_EVERY - 1, 10, 10)
    assert watch.check() == ""
    machine.pass_(1, 0, 0)
    note = watch.check()
    assert note.startswith("note: starved: its threads wait 50% of the time") and "--threads 1" in note
    for _ in range(int(REPORT_EVERY / CHECK_EVERY) - 1):
        machine.pass_(CHECK_EVERY, 10, 10)
        assert watch.check() == ""
    machine.pass_(CHECK_EVERY, 10, 10)
    assert "50%" in watch.check()
    assert "--threads" not in Machine().starvation(1).check()


@pytest.mark.parametrize(("ran", "waits"), [(40.0, 1.0), (20.0, 6.0), (0.2, 0.7)])
def test_nothing_is_reported_without_starvation(ran: float, waits: float) -> None:
    machine = Machine()
    watch = machine.starvation()
    machine.pass_(CHECK_EVERY, ran, waits)
    assert watch.check() == ""


def test_nothing_is_reported_without_schedstat() -> None:
    machine = Machine()
    watch = Starvation(2, lambda: None, lambda: machine.now)
    machine.pass_(CHECK_EVERY, 0, 0)
    assert watch.check() == ""


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="Linux's scheduler tells it")
def test_waiting_for_a_processor_is_measured() -> None:
    """Two busy processes on one processor: each waits about half of its time."""
    code = (
        "import os, sys, time; sys.path.insert(0, '.'); os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})\n"
        "from fastgan.runtime.threads import waited\n"
        "before, end = waited(), time.monotonic() + 1.0\n"
        "while time.monotonic() < end: pass\n"
        "after = waited(); print(after[0] - before[0], after[1] - before[1])"
    )
    root = Path(__file__).parents[2]
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    found = [list(map(float, each.communicate(timeout=60)[0].split())) for each in both]
    assert all(ran > 0.1 for ran, _ in found) and max(waits for _, waits in found) > 0.2
