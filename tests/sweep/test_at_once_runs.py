"""Concurrent runs of a sweep: the same rows as sequential runs, and the effect of signals and failures."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from test_sweep import TINY

from fastgan.config.schema import TrainConfig
from fastgan.errors import DivergenceError, RunError
from fastgan.evaluation import evaluator
from fastgan.inference import trained_run
from fastgan.runtime import signals, threads
from fastgan.runtime.ranks import RankInfo
from fastgan.runtime.signals import stop_signals
from fastgan.sweep import runner, workers
from fastgan.sweep.at_once import in_threads
from fastgan.sweep.methods import with_method
from fastgan.sweep.results import Results, RunKey, read_rows
from fastgan.sweep.runner import Sweep
from fastgan.sweep.workers import in_processes

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
needs_two = pytest.mark.skipif(threads.available() < 2, reason="a second process wants a second processor")


@pytest.fixture
def _short_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "PER_CODE", 30)
    monkeypatch.setattr(evaluator, "DIVERSITY", 300)


def a_sweep(folder: Path, methods: tuple[str, ...] = ("uniform", "elastic"), splits: int = 2, **changes: Any) -> Sweep:
    base = dataclasses.replace(TINY, **changes)
    runs: dict[RunKey, TrainConfig] = {
        RunKey(method, split, 0): dataclasses.replace(with_method(base, method), split=split)
        for method in methods
        for split in range(1, splits + 1)
    }
    results = Results(folder, dataset="digits", recipe="default", epochs=base.epochs)
    return Sweep(results, runs, CPU, RankInfo(), pictures=frozenset(list(runs)[:1]))


def bits(folder: Path) -> dict[str, Any]:
    """Every row without times and environment."""
    found = {}
    for row in read_rows(folder):
        evaluations = {
            epoch: {name: value for name, value in figures.items() if "second" not in name}
            for epoch, figures in row["evaluations"].items()
        }
        run = row["run"]
        kept = {**row, "evaluations": evaluations}
        found[f"{run['method']}-{run['split']}-{run['seed']}"] = {
            name: value
            for name, value in kept.items()
            if name not in ("environment", "train_seconds", "peak_memory_gb")
        }
    return found


# --- the same rows ---


@pytest.mark.usefixtures("_short_evaluations")
def test_threads_make_the_same_rows_as_sequential_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As on a GPU: two methods with two splits each, in two threads of one process."""
    assert a_sweep(tmp_path / "one").train() is None
    capfd.readouterr()
    several = a_sweep(tmp_path / "two")
    assert in_threads(several, several.keys, 2) is None
    assert bits(tmp_path / "two") == bits(tmp_path / "one")
    printed = capfd.readouterr().err.splitlines()
    names = [key.name for key in several.keys]
    assert printed and all(line.partition(":")[0] in names for line in printed), "every line says of which run it is"
    assert all(sum(f"{name}: nmi" in line for line in printed) == 1 for name in names)


@needs_two
def test_processes_make_the_same_rows_as_sequential_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert a_sweep(tmp_path / "one", ("uniform",)).train() is None
    capfd.readouterr()
    several = a_sweep(tmp_path / "two", ("uniform",))
    several.results.keep_checkpoints = True
    assert in_processes(several, several.keys, 2, "auto", 1) is None
    assert bits(tmp_path / "two") == bits(tmp_path / "one")
    first = several.keys[0].name
    assert trained_run.load(tmp_path / "two" / "runs" / first, CPU).images_seen > 0, "--keep-checkpoints"
    assert not (tmp_path / "one" / "runs" / first / "checkpoints").exists(), "only figures stay without it"
    printed = capfd.readouterr().err.splitlines()
    assert printed and all(line.startswith("uniform-split0") for line in printed)
    settings = json.loads((tmp_path / "two" / "runs" / first / "run.json").read_text())
    assert settings["environment"]["threads"] == 1


# --- signals ---


@pytest.mark.usefixtures("_short_evaluations")
def test_a_signal_stops_all_threads_and_they_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM once both runs are under way: both save, and later calls end with the figures of a whole sweep."""
    whole = a_sweep(tmp_path / "whole", ("elastic",))
    assert whole.train() is None
    under_way, train = threading.Barrier(2), runner.TrainingLoop.train

    def stopped(self: Any) -> Any:
        step, calls = self.trainer.run, []

        def run_and_stop(images_seen: int, count: int) -> None:
            step(images_seen, count)
            calls.append(count)
            if len(calls) == 3:
                if under_way.wait(60) == 0:
                    os.kill(os.getpid(), signal.SIGTERM)
                while not signals.received():  # the main thread may look a moment later
                    time.sleep(0.01)

        self.trainer.run = run_and_stop
        try:
            return train(self)
        finally:
            self.trainer.run = step

    cut = a_sweep(tmp_path / "cut", ("elastic",))
    with monkeypatch.context() as patched:
        patched.setattr(runner.TrainingLoop, "train", stopped)
        assert in_threads(cut, cut.keys, 2) == signal.SIGTERM
    assert read_rows(tmp_path / "cut") == []
    assert len(list((tmp_path / "cut" / "runs").glob("*/checkpoints/*"))) == 2
    assert in_threads(cut, cut.keys, 2) is None
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")


@pytest.mark.slow
@needs_two
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_stops_its_workers(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastgan.reproduce", "--dataset", "digits", "--epochs", "4", "--device", "cpu"]
    command += ["--methods", "uniform", "--splits", "1-3", "--runs-at-once", "2", "--results"]

    def started(folder: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, str(tmp_path / folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True)

    cut, deadline = started("cut"), time.monotonic() + 120
    while len({path.parent for path in (tmp_path / "cut" / "runs").glob("*/checkpoints/*")}) < 2:  # both train
        assert time.monotonic() < deadline and cut.poll() is None
        time.sleep(0.05)
    cut.send_signal(number)
    printed = cut.communicate(timeout=60)[1]
    assert cut.returncode == 128 + number and "stopped and saved; the same command continues" in printed
    assert "Traceback" not in printed and read_rows(tmp_path / "cut") == []
    assert list((tmp_path / "cut" / "runs").glob("*/checkpoints/*")), "what was under way is saved"
    for folder in ("cut", "whole"):
        again = started(folder)
        assert "3 of 3 runs are finished" in again.communicate(timeout=240)[1] and again.returncode == 0
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")


def test_a_worker_ends_after_its_parent() -> None:
    """A parent that is killed sends no signal: the worker finds another in its place, and sends itself SIGTERM."""
    with stop_signals() as received:
        workers._leave_after(parent=os.getppid() + 1)
        time.sleep(0.01)
    assert received == [signal.SIGTERM]


# --- failures ---


@pytest.mark.usefixtures("_short_evaluations")
def test_a_run_that_diverges_leaves_the_others_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three runs in two threads the first fails: the second is finished, the third not started, the first named."""
    train_one, failed = Sweep.train_one, threading.Event()

    def fails(self: Sweep, key: RunKey) -> int | None:
        if key.split == 1:
            failed.set()
            raise DivergenceError("step 3: d_loss is nan")
        assert failed.wait(60)
        return train_one(self, key)

    several = a_sweep(tmp_path, ("uniform",), splits=3)
    with monkeypatch.context() as patched:
        patched.setattr(Sweep, "train_one", fails)
        with pytest.raises(RunError, match="^uniform-split01-seed0: step 3: d_loss is nan$") as raised:
            in_threads(several, several.keys, 2)
    assert raised.value.exit_code == 1
    assert len(bits(tmp_path)) <= 1, "the third was not begun"
    assert in_threads(several, several.keys, 2) is None and len(bits(tmp_path)) == 3


@pytest.mark.slow
@needs_two
def test_a_worker_that_fails_leaves_the_others_whole(tmp_path: Path) -> None:
    """One run's folder holds a run with other settings."""
    first = a_sweep(tmp_path, ("uniform",), splits=1)
    first.train()
    (key,) = first.keys
    (tmp_path / "rows" / f"{key.name}.json").unlink()
    several = a_sweep(tmp_path, ("uniform",), splits=2, temperature=0.5)
    with pytest.raises(
        RunError, match=r"^uniform-split01-seed0: .*a run with other settings \(temperature\)"
    ) as raised:
        in_processes(several, several.keys, 2, "auto", 1)
    assert raised.value.exit_code == 2
    assert list(bits(tmp_path)) == ["uniform-2-0"], "the other was finished"


def test_a_killed_process_is_reported() -> None:
    part = workers.Part(Path("nowhere"), {}, {}, frozenset(), "auto", 1, os.getpid(), ())
    worker = workers.Worker(part)
    worker._process.kill()
    with pytest.raises(RunError, match="its process was killed, perhaps for lack of memory"):
        worker.train_one(RunKey("uniform", 1, 0))
    worker.close()


def test_a_worker_imports_the_same_package_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "WORK", "import fastgan, sys; sys.stdout.write(fastgan.__file__)")
    worker = workers.Worker(workers.Part(tmp_path, {}, {}, frozenset(), "auto", 1, os.getpid(), ()))
    assert worker._process.stdout is not None
    assert worker._process.stdout.read().decode() == str(ROOT / "fastgan" / "__init__.py")
    worker.close()
