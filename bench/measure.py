"""Measure several ways to train side by side, and describe the machine that did it."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bench.rows import DEVICE, ROOT, Row, load_images, make_row

SETTLE = 2  # untimed steps at the start of each block: caches and a DataLoader's queue get back to their usual state
MEMORY_STEPS = 4


@dataclass
class Samples:
    """Seconds, one entry a step: the whole step, its loading, and (a few a block) its transforms apart."""

    total: list[float] = field(default_factory=list)
    loading: list[float] = field(default_factory=list)
    transform: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    """The median step of each round."""


def _now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _block(row: Row, steps: int, samples: Samples) -> None:
    row.begin()
    for _ in range(SETTLE):
        row.train(row.load())
    total = []
    for _ in range(steps):
        start = _now()
        batch = row.load()
        loaded = _now()
        row.train(batch)
        total.append(_now() - start)
        samples.loading.append(loaded - start)
    for _ in range(3):
        start = _now()
        if row.transform(batch):
            samples.transform.append(_now() - start)
    row.end()
    samples.total += total
    samples.rounds.append(statistics.median(total))


def measure(rows: Mapping[str, Row], rounds: int, steps: int, warmup: int) -> dict[str, Samples]:
    """Time every row in turns, so that a slow spell of the machine meets all of them.

    Each row first makes `warmup` steps (compilation falls here); then, `rounds` times, each in turn is timed for
    `steps` steps. The order turns by one place a round.
    """
    samples = {name: Samples() for name in rows}
    for row in rows.values():
        row.begin()
        for _ in range(warmup):
            row.train(row.load())
        row.end()
    names = list(rows)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            _block(rows[name], steps, samples[name])
    return samples


def figures(samples: Samples, batch_size: int) -> dict[str, float]:
    """Milliseconds and images a second: median, 20th and 80th percentile, and step and loading apart."""
    p20, _, _, p80 = (1e3 * cut for cut in statistics.quantiles(samples.total, n=5, method="inclusive"))
    median = 1e3 * statistics.median(samples.total)
    loading = 1e3 * statistics.median(samples.loading)
    if samples.transform:
        loading += 1e3 * statistics.median(samples.transform)
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


def peak_memory(name: str, workers: int) -> dict[str, float]:
    """MiB that one row needs at most, in a process of its own (its DataLoader's workers are not counted)."""
    command = [sys.executable, "-m", "bench.measure", name, str(workers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _resident_peak() -> float:
    """The most memory this process has held, MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that starts at what the parent held before exec.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _measure_memory(name: str, workers: int) -> dict[str, float]:
    config, images, _ = load_images()
    before = _resident_peak()
    row = make_row(name, config, images, workers)
    row.begin()
    for _ in range(MEMORY_STEPS):
        row.train(row.load())
    row.end()
    if DEVICE.type == "cuda":
        return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20}
    return {"peak_mib": _resident_peak(), "peak_mib_before": before}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured."""
    commit = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    return {
        "device": torch.cuda.get_device_name() if DEVICE.type == "cuda" else _processor(),
        "device_type": DEVICE.type,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": _version("torch"),
        "triton": _version("triton"),
        "python": platform.python_version(),
        "commit": commit + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else ""),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


if __name__ == "__main__":
    print(json.dumps(_measure_memory(sys.argv[1], int(sys.argv[2]))))
