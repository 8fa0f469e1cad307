"""Measure several ways to train side by side, each in a process of its own, and describe the machine that did it."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.conftest import AVX2_ALONE
from bench.rows import DEVICE, ROOT
from fastgan.runtime.environment import environment


@dataclass
class Samples:
    """Seconds, one entry a step: the whole step, and its loading with the transforms."""

    total: list[float] = field(default_factory=list)
    loading: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    """The median step of each round."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the process said at its end: peak memory, and a warning of --compile's if there was one."""
    failed: str | None = None
    """Why there is nothing more of it."""


class Process:
    """One row in a process of its own (bench/worker.py), which waits idly until it is told to train.

    Rows in one process would share a heap, and what one row leaves of it decides what the next one's memory costs.
    """

    def __init__(self, name: str, workers: int) -> None:
        command = [sys.executable, "-m", "bench.worker", name, str(workers)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer; RuntimeError if the process has ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended with {self._process.wait()}")  # type: ignore[arg-type]
        return dict(json.loads(line))

    def try_to(self, samples: Samples, **request: Any) -> dict[str, Any] | None:
        """The same, of a row that has not failed; an error is noted in its samples."""
        if samples.failed is None:
            try:
                return self.ask(**request)
            except (RuntimeError, OSError) as error:  # its end, or a pipe that it has closed
                samples.failed = said(error)
        return None

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # what it was asked and never read
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def measure(rows: Mapping[str, tuple[str, int]], rounds: int, steps: int, warmup: int) -> dict[str, Samples]:
    """Time every row in turns, so that a slow spell of the machine meets all of them.

    Each row first makes `warmup` steps (compilation falls here); then, `rounds` times, each in turn is timed for
    `steps` steps. The order turns by one place a round. A row whose process ends has `failed`, and the others go on.

    Args:
        rows: label -> (name of the row, DataLoader workers).
    """
    samples = {label: Samples() for label in rows}
    with ExitStack() as stack:
        processes = {}
        for label, (name, workers) in rows.items():
            processes[label] = Process(name, workers)
            stack.callback(processes[label].close)
            processes[label].try_to(samples[label], warmup=warmup)
        labels = list(rows)
        for turn in range(rounds):
            first = turn % len(labels)
            for label in labels[first:] + labels[:first]:
                found = processes[label].try_to(samples[label], steps=steps)
                if found is None:
                    continue
                samples[label].total += found["total"]
                samples[label].loading += found["loading"]
                samples[label].rounds.append(statistics.median(found["total"]))
        for label, process in processes.items():
            samples[label].about = process.try_to(samples[label], about=True) or {}
    return samples


def figures(samples: Samples, batch_size: int) -> dict[str, float]:
    """Milliseconds and images a second: median, 20th and 80th percentile, and step and loading apart."""
    p20, _, _, p80 = (1e3 * cut for cut in statistics.quantiles(samples.total, n=5, method="inclusive"))
    median = 1e3 * statistics.median(samples.total)
    loading = 1e3 * statistics.median(samples.loading)
    return {
        "median_ms": median,
        "p20_ms": p20,
        "p80_ms": p80,
        "images_per_s": 1e3 * batch_size / median,
        "step_ms": median - loading,
        "loading_ms": loading,
        "steps": len(samples.total),
    }


def ratio(reference: Samples, samples: Samples) -> dict[str, Any]:
    """How many times faster than `reference`: of the medians, and the least and most of any one round."""
    each = [theirs / ours for theirs, ours in zip(reference.rounds, samples.rounds, strict=True)]
    whole = statistics.median(reference.total) / statistics.median(samples.total)
    return {"times": whole, "least": min(each), "most": max(each)}


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured: what run.json says of a run, and how busy the machine was."""
    found = environment(DEVICE)
    versions = found["versions"]
    return {
        "device": found["device"],
        "device_type": DEVICE.type,
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability() + (", as limited by --avx2" if limited() else ""),
        **{name: versions[name] for name in ("torch", "triton", "numpy", "python") if name in versions},
        "commit": found["git_commit"] or "unknown",
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "date": found["started"][:10],
    }


def slug(about: dict[str, Any]) -> str:
    """A file name's part for the machine."""
    kind = f"{about['device_type']} {about['device']}{' avx2' if limited() else ''}"
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")


def said(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def limited() -> bool:
    """Whether --avx2 is measured."""
    return all(os.environ.get(name) == value for name, value in AVX2_ALONE.items())
