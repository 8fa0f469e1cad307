"""Steps a second of the whole training loop on a GPU: `python -m bench.gpu_loop`.

Rows, at the paper's size: the naive step, in float32, on one batch that stays on the device; ours in bfloat16, eager,
compiled, captured, and compiled and captured, all on images and transforms that stay in the ring (constant input); the
last one fed by tensor operations and by DALI. Rows take turns; each is timed by the device's own events.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch

from bench.measure import machine, slug
from bench.rows import DEFAULT_RECIPE, DEVICE, ROOT, load_images, make_row
from fastgan.config import TrainConfig, validate
from fastgan.data import ImageSet
from fastgan.errors import ConfigError
from fastgan.run_folder import choose_algorithms
from fastgan.trainer import Trainer

ROUNDS = 5
SECONDS = 1.0  # a row and round
ROWS: dict[str, dict[str, Any]] = {
    "eager": {"capture": False},
    "compiled": {"capture": False, "compile": True},
    "captured": {},
    "compiled, captured": {"compile": True},
    "the same, fed by tensor operations": {"compile": True, "augment": "torchvision"},
    "the same, fed by DALI": {"compile": True, "augment": "dali"},
    "the default recipe, compiled, captured": {"compile": True, **DEFAULT_RECIPE},
    "the same, deterministic": {"compile": True, "deterministic": True, **DEFAULT_RECIPE},
}


class Way:
    """fastgan's loop without its reports; fed, or on what lies in the ring once and for all."""

    def __init__(self, config: TrainConfig, images: ImageSet, **changes: Any) -> None:
        self.fed = "augment" in changes
        self.config = validate(dataclasses.replace(config, amp=True, **({"augment": "torchvision"} | changes)))
        choose_algorithms(self.config.deterministic, DEVICE)  # a graph keeps what it was captured with
        self.trainer = Trainer(self.config, images, DEVICE)
        self.feed, self.iterations = self.trainer.feed, self.trainer.iterations
        self.seen = 0
        for chunk in range(2):  # the whole ring
            self.feed.ensure(chunk * self.feed.chunk, (chunk + 1) * self.feed.chunk)
        self.captured = self.iterations.prepare()
        choose_algorithms(False, DEVICE)

    def run(self, steps: int) -> None:
        """At least `steps` steps, as many at once as the loop takes."""
        several = self.iterations.unroll
        for _ in range(0, steps, several):
            if self.fed:
                self.feed.ensure(self.seen, self.seen + several * self.config.batch_size)
            self.iterations.run(several)
            self.seen += several * self.config.batch_size


def milliseconds(run: Callable[[int], object], steps: int) -> float:
    """Of one step, by the device's clock."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run(steps)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / steps


def _keep(found: dict[str, list[float]], about: dict[str, Any], left_out: list[str]) -> None:
    """Print the table of the rounds so far and keep it in bench/results/; its first row is what others are held to."""
    base = statistics.median(next(iter(found.values())))
    lines = [f"{'row':40}{'median ms':>12}{'least':>10}{'most':>10}{'steps/s':>12}{'images/s':>12}{'times':>8}"]
    rows = {}
    for name, values in found.items():
        median = statistics.median(values)
        rows[name] = {"median_ms": median, "rounds_ms": values, "steps_per_s": 1e3 / median, "times": base / median}
        lines.append(
            f"{name:40}{median:12.4f}{min(values):10.4f}{max(values):10.4f}{1e3 / median:12,.0f}"
            f"{1e3 * about['batch_size'] / median:12,.0f}{base / median:8.2f}"
        )
    lines += [f"left out: {said}" for said in left_out] + [f"{key}: {value}" for key, value in about.items()]
    print("\n".join(lines), flush=True)
    stem = ROOT / "bench" / "results" / f"loop-{slug(about)}"
    stem.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    kept = {"about": about, "rows": rows, "left_out": left_out}
    stem.with_suffix(".json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Build all rows, time them in turns, and print and keep a table after each round."""
    config, images, kind = load_images()
    naive = make_row("naive_step", config, images)

    def naively(steps: int) -> None:
        for _ in range(steps):
            naive.train(naive.load())

    runs: dict[str, Callable[[int], object]] = {"naive step, constant input": naively}
    left_out = []
    for name, changes in ROWS.items():
        try:
            way = Way(config, images, **changes)
        except ConfigError as error:
            left_out.append(str(error))
            continue
        if way.config.capture and not way.captured:
            left_out.append(f"{name}: could not be captured")
            continue
        runs[name] = way.run
    steps = {}
    for name, run in runs.items():
        run(40)
        torch.cuda.synchronize()
        steps[name] = max(40, int(1e3 * SECONDS / milliseconds(run, 40)) // 8 * 8)
    found: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    about = {"data": kind, "batch_size": config.batch_size, **machine()}
    for turn in range(ROUNDS):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(milliseconds(runs[name], steps[name]))
        # After each round, so that what has been timed outlasts an interruption.
        _keep(found, {"rounds": turn + 1, **about}, left_out)


if __name__ == "__main__":
    sys.exit("needs a CUDA GPU" if DEVICE.type != "cuda" else main())
