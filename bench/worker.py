"""One row of a table in a process of its own: `python -m bench.worker NAME WORKERS`, told what to do line by line.

What it is asked, and answers (bench/process.py):
{"warmup": N} makes N steps; {"steps": N} times N steps; {"about": true} reports peak memory and warnings.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from bench.process import serve
from bench.rows import DEVICE, Row, load_images, make_row
from fastgan.runtime.process import peak_memory

SETTLE = 2  # untimed steps at the start of each block: caches and a DataLoader's queue get back to their usual state


def _now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _train(row: Row, steps: int) -> None:
    for _ in range(steps):
        row.train(row.load())


def _block(row: Row, steps: int) -> dict[str, list[float]]:
    total, loading = [], []
    _train(row, SETTLE)
    for _ in range(steps):
        start = _now()
        batch = row.load()
        loaded = _now()
        row.train(batch)
        total.append(_now() - start)
        loading.append(loaded - start)
    return {"total": total, "loading": loading}


def _answer(row: Row, request: dict[str, Any], said: list[warnings.WarningMessage]) -> dict[str, Any]:
    if "about" in request:
        compile_said = [str(warning.message) for warning in said if str(warning.message).startswith("--compile")]
        return {"peak_mib": peak_memory(DEVICE) / 2**20, "compile": compile_said[0] if compile_said else None}
    row.begin()
    try:
        if "warmup" in request:
            _train(row, request["warmup"])
            return {}
        return _block(row, request["steps"])
    finally:
        row.end()


def main(name: str, workers: int) -> None:
    """Serve requests until standard input ends."""

    def make() -> Callable[[dict[str, Any]], dict[str, Any]]:
        config, images, _ = load_images()
        row = make_row(name, config, images, workers)
        return lambda request: _answer(row, request, said)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")  # a warning of torch's is no reason to lose the figures
        serve(make)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
