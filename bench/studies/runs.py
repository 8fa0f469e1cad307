"""Whole runs side by side, one thread a run, for comparisons of how well they train."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.rows import ROOT
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runs.run_folder import read_settings


def mnist_flags(split: int, epochs: int, seed: int, device: str = "cpu") -> list[str]:
    """The flags of `fastgan.train` that all runs on a split share."""
    folder = os.environ.get("FASTGAN_MNIST") or ROOT.parent / "shared" / "data" / "mnist"
    flags = f"--dataset mnist --amp --device {device} --data-dir {folder}".split()
    return [*flags, "--split", str(split), "--epochs", str(epochs), "--seed", str(seed)]


def final(run: Path, epochs: int) -> dict[str, Any] | None:
    """The last evaluation of a complete run, with the seconds that its groupings took; None if it is not complete."""
    rows = MetricsLog(run / "metrics.jsonl").rows()
    found = [row for row in rows if "nmi" in row and row["epoch"] == epochs]
    grouping = sum(row["grouping_seconds"] for row in rows if "grouping_seconds" in row)
    return {**found[-1], "grouping_seconds": grouping} if found else None


def train(
    runs: Mapping[Path, Sequence[str]], epochs: int, at_once: int = 2, environment: Mapping[str, str] | None = None
) -> dict[Path, dict[str, Any]]:
    """The last evaluation and the commit of every run, by its folder; trains, or continues, what is not complete.

    Args:
        runs: folder -> flags of `fastgan.train`.
        at_once: how many run at a time.
        environment: of their processes, beside this one's.
    """
    waiting = [run for run in runs if final(run, epochs) is None]
    running: dict[Path, subprocess.Popen[bytes]] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            run = waiting.pop(0)
            flags = ["--resume"] if any(run.glob("checkpoints/*")) else runs[run]
            command = [sys.executable, "-m", "fastgan.train", *flags, "--run-dir", str(run)]
            running[run] = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **(environment or {}), "OMP_NUM_THREADS": "1"}
            )
        time.sleep(1)  # not os.wait: it would take the exit codes that poll is to read
        for run, process in list(running.items()):
            if process.poll() is not None:
                del running[run]
                if process.returncode != 0:
                    raise SystemExit(f"{run} ended with exit code {process.returncode}")
    found = {}
    for run in runs:
        row = final(run, epochs)
        assert row is not None, run
        found[run] = {"commit": read_settings(run)["environment"]["git_commit"], **row}
    return found
