"""What watching for numbers that are not finite costs: the same step with the guard and without it.

    pytest bench/speed/bench_guard.py [--save-results]

Both at the paper's size by the default recipe in bfloat16, in one process and in turns (guard first in every other
pair), captured where a GPU is. On a CPU every step is timed, on a GPU blocks of them. The figure is the median of the
pairs' ratios, with the interval that holds the true one in 19 of 20 cases (the sign test's).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from bench.conftest import Results
from bench.gpu.loop import Way
from bench.measure import machine, slug
from bench.rows import DEFAULT_RECIPE, DEVICE, load_images
from bench.timing import seconds
from fastgan.runtime.process import tune_malloc
from fastgan.step import optimizers
from fastgan.step import step as step_module
from fastgan.step.nonfinite import NonFiniteGuard
from fastgan.step.optimizers import Adam

ON_GPU = DEVICE.type == "cuda"
PAIRS, STEPS = (400, 64) if ON_GPU else (500, 1)
WARMUP = 4
AIM = 0.01  # of a step's time


class Blind(NonFiniteGuard):
    """A guard that neither looks nor remembers."""

    def begin(self) -> None:
        pass

    def check(self, *_: Any) -> None:
        pass

    def end(self, images: int) -> None:
        pass


def _update(optimizer: Adam, found_inf: torch.Tensor, **more: Any) -> None:
    optimizer.step(**more)


@contextmanager
def unguarded() -> Iterator[None]:
    """Steps that are made, captured and run inside have no guard."""
    with mock.patch.object(step_module, "NonFiniteGuard", Blind), mock.patch.object(optimizers, "step_unless", _update):
        yield


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """The median, and the bounds of its 95% confidence interval by the sign test's normal approximation."""
    ordered, half = sorted(ratios), 0.98 * math.sqrt(len(ratios))
    low, high = int(len(ratios) / 2 - half), math.ceil(len(ratios) / 2 + half)
    return statistics.median(ordered), ordered[max(0, low)], ordered[min(len(ordered) - 1, high)]


def test_cost_of_the_guard(results: Results) -> None:
    tune_malloc()
    config, images, kind = load_images()
    guarded = Way(config, images, **DEFAULT_RECIPE)
    with unguarded():
        blind = Way(config, images, **DEFAULT_RECIPE)
    assert type(blind.trainer.step.guard) is Blind and type(guarded.trainer.step.guard) is NonFiniteGuard
    times: dict[str, list[float]] = {"with the guard": [], "without it": []}
    for pair in range(WARMUP + PAIRS):
        turns = [("with the guard", guarded), ("without it", blind)]
        for name, way in turns if pair % 2 == 0 else turns[::-1]:
            if way is blind:
                with unguarded():
                    taken = seconds(lambda: blind.run(STEPS))
            else:
                taken = seconds(lambda: guarded.run(STEPS))
            if pair >= WARMUP:
                times[name].append(taken)
    median, low, high = interval([a / b for a, b in zip(*times.values(), strict=True)])
    about = {"data": kind, "batch_size": config.batch_size, "pairs": PAIRS, "captured": guarded.captured, **machine()}
    lines = ["the guard's share of a step"]
    lines += [f"  {name:16}{1e3 * statistics.median(each) / STEPS:10.2f} ms a step" for name, each in times.items()]
    lines += [f"  ratio of a pair: {median:.4f} (95% interval {low:.4f} to {high:.4f}; aim at most {1 + AIM})"]
    lines += [f"{key}: {value}" for key, value in about.items()]
    values = {"about": about, "ratio": median, "low": low, "high": high}
    results.add(f"guard-{slug(about)}", "\n".join(lines), values)
