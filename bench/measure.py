"""Measure several ways to train side by side, each in a process of its own, and describe the machine that did it."""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from bench.conftest import AVX2_ALONE
from bench.process import Process, said
from bench.rows import DEVICE
from bench.timing import in_turns
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


def _try_to(process: Process, samples: Samples, **request: Any) -> dict[str, Any] | None:
    """The answer of a row that has not failed; an error is noted in its samples."""
    if samples.failed is None:
        try:
            return process.ask(**request)
        except (RuntimeError, OSError) as error:  # its end, or a pipe that it has closed
            samples.failed = said(error)
    return None


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
            processes[label] = Process("bench.worker", name, str(workers))
            stack.callback(processes[label].close)
            _try_to(processes[label], samples[label], warmup=warmup)
        for label in chain.from_iterable(in_turns(list(rows), rounds)):
            found = _try_to(processes[label], samples[label], steps=steps)
            if found is None:
                continue
            samples[label].total += found["total"]
            samples[label].loading += found["loading"]
            samples[label].rounds.append(statistics.median(found["total"]))
        for label, process in processes.items():
            samples[label].about = _try_to(process, samples[label], about=True) or {}
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


def keep(stem: Path, lines: Sequence[str], whole: Mapping[str, Any]) -> None:
    """Write a study's table, STEM.txt, and all its figures, STEM.json; the folder is made if it is absent."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    stem.with_suffix(".json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def limited() -> bool:
    """Whether --avx2 is measured."""
    return all(os.environ.get(name) == value for name, value in AVX2_ALONE.items())
