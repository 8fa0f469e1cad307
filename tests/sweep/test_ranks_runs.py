"""Whole runs on two ranks, in processes as torchrun starts them: who writes, how they stop, fail and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults.children import left_behind
from ports import free_port
from test_train import _weights as weights

from fastgan.runs.checkpoint import newest

pytestmark = pytest.mark.slow

# `python -m fastgan.train` without a judge, which would take longer than the runs.
TRAIN = "import sys; from fastgan import train; from fastgan.reporting import run_reporter; "
TRAIN += "run_reporter.obtain_judge = lambda *_: None; sys.exit(train.run_command(train.main))"
SMALL = ["--network.width", "4", "--network.hidden", "32", "--network.embedding", "16", "--device", "cpu"]
SMALL += ["--batch-size", "64", "--grouping.at", "1", "--log-every", "640", "--image-size", "16"]
BATCH = 128  # of two ranks
EPOCH = 9 * BATCH  # images of the digits in whole batches
QUICK = ["--recipe", "paper", "--no-sync-batchnorm", "--grouping.at"]  # few messages a step
DEADLINE = 240  # seconds that a busy machine may take for anything here


def start(*flags: str, count: int = 2) -> list[subprocess.Popen[str]]:
    """The processes of one job, in the order of their ranks."""
    names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "PYTHONPATH": os.pathsep.join(sys.path)}
    names |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, *SMALL, *flags],
            env={**os.environ, **names, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def end(processes: list[subprocess.Popen[str]]) -> tuple[list[int], list[str], list[str]]:
    """Exit codes, stdout and stderr of each rank."""
    printed = [process.communicate(timeout=DEADLINE) for process in processes]
    return [p.returncode for p in processes], [out for out, _ in printed], [error for _, error in printed]


def rows(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without times."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if "second" not in k} for row in found]


def saved(run: Path, images: int, processes: list[subprocess.Popen[str]]) -> None:
    """Wait for a checkpoint of so many images, or later."""
    deadline = time.monotonic() + DEADLINE
    while not any(p.name.isdigit() and int(p.name) >= images for p in (run / "checkpoints").glob("*")):
        assert all(process.poll() is None for process in processes), end(processes)
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of three epochs."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    codes, out, errors = end(start("--run-dir", str(run), "--epochs", "3", "--save-every", "1"))
    assert codes == [0, 0], errors
    assert "after 3 epochs" in out[0] and "2 ranks of 64 images" in errors[0]
    assert (out[1], errors[1]) == ("", ""), "only rank 0 prints"
    return run


def test_only_rank_0_writes(finished: Path) -> None:
    found = rows(finished)
    images = [row["images_seen"] for row in found if "d_loss" in row]
    assert images == sorted(set(images)) and images[-1] == 3 * EPOCH
    assert [row["epoch"] for row in found if "regrouped" in row] == [1]
    assert sorted(p.name for p in (finished / "checkpoints").iterdir()) == [f"{n * EPOCH:012d}" for n in (2, 3)]
    settings = json.loads((finished / "run.json").read_text())
    assert settings["environment"]["ranks"] == 2
    assert (finished / "report.html").exists()


def test_a_signal_to_one_rank_stops_all_after_the_same_step_and_the_run_goes_on_exactly(
    finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "stopped"
    processes = start("--run-dir", str(run), "--epochs", "3", "--save-every", "1")
    saved(run, EPOCH, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, out, errors = end(processes)
    assert codes == [143, 143], errors
    assert "--resume" in out[0] and out[1] == ""
    stopped = max(int(p.name) for p in (run / "checkpoints").iterdir())
    assert EPOCH < stopped < 3 * EPOCH and stopped % EPOCH
    codes, _, errors = end(start("--run-dir", str(run), "--resume"))
    assert codes == [0, 0], errors
    assert weights(run) == weights(finished)
    assert rows(run) == rows(finished)


def test_another_number_of_ranks_needs_its_flag(finished: Path) -> None:
    again = ["--run-dir", str(finished), "--resume", "--epochs", "4"]
    codes, _, errors = end(start(*again, count=1))
    assert codes == [2] and "was trained on 2 ranks, and here is 1" in errors[0]
    assert "--resume-on-other-ranks" in errors[0] and errors[0].count("\n") == 1
    codes, _, errors = end(start(*again, "--resume-on-other-ranks", count=1))
    assert codes == [0], errors
    whole = json.loads((finished / "run.json").read_text())
    assert [entry["ranks"] for entry in whole["environment"]["resumed"]] == [1]
    assert whole["settings"]["resume_on_other_ranks"] is False


def test_a_killed_rank_ends_the_job(tmp_path: Path) -> None:
    processes = start("--run-dir", str(tmp_path / "run"), "--epochs", "999", *QUICK)
    saved(tmp_path / "run", EPOCH, processes)
    processes[1].kill()
    _, errors = processes[0].communicate(timeout=60)
    assert processes[0].returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: rank 0 of 2: another rank has ended") and "Traceback" not in errors
    end(processes[1:])


def test_a_stalled_rank_ends_the_job(tmp_path: Path) -> None:
    processes = start("--run-dir", str(tmp_path / "run"), "--epochs", "999", "--rank-timeout", "20", *QUICK)
    saved(tmp_path / "run", EPOCH, processes)
    processes[1].send_signal(signal.SIGSTOP)
    try:
        _, errors = processes[0].communicate(timeout=DEADLINE)
    finally:
        processes[1].kill()
    assert processes[0].returncode == 1
    assert "does not answer" in errors and "Traceback" not in errors
    end(processes[1:])


# --- under torchrun itself ---


def torchrun(*flags: str) -> subprocess.Popen[str]:
    """The command of the README, on two CPU ranks, in its own session."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        + ["-m", "fastgan.train", *SMALL, "--save-every", "1", "--eval-every", "999", *flags],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def workers(process: subprocess.Popen[str]) -> list[int]:
    """What torchrun has started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("lost", ["told to stop", "a rank killed", "torchrun killed"])
def test_torchrun_leaves_a_run_that_goes_on_and_no_process(tmp_path: Path, lost: str) -> None:
    run = tmp_path / "run"
    process = torchrun("--run-dir", str(run), "--epochs", "999", *QUICK)
    try:
        saved(run, EPOCH, [process])
        ranks = workers(process)
        assert len(ranks) == 2
        if lost == "a rank killed":
            os.kill(ranks[1], signal.SIGKILL)
        else:
            process.send_signal(signal.SIGTERM if lost == "told to stop" else signal.SIGKILL)
        out, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == (-signal.SIGKILL if lost == "torchrun killed" else 1), errors
        if lost == "a rank killed":
            assert errors.count("error: rank 0 of 2: another rank has ended") == 1
        else:
            assert out.count("stopped and saved") == 1
        deadline = time.monotonic() + DEADLINE
        while left_behind(process.pid) and time.monotonic() < deadline:
            pass
        assert not left_behind(process.pid)
        assert newest(run / "checkpoints")[1] >= EPOCH
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
