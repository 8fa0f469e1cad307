"""Steps a second of the whole training loop on a GPU: `python -m bench.gpu.loop`.

Rows, at the paper's size: the naive step, in float32, on one batch that stays on the device; ours in bfloat16, eager,
compiled, captured, and compiled and captured, all on images and transforms that stay in the ring (constant input); the
last one fed by tensor operations and by DALI. Rows take turns; each is timed by the device's own events. A row that
fails is a line that says so, and what has been measured is kept after each round.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.measure import keep, machine, slug
from bench.process import said
from bench.rows import DEFAULT_RECIPE, DEVICE, ROOT, load_images, make_row
from bench.timing import in_turns
from fastgan.config.schema import TrainConfig
from fastgan.config.validation import validate
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError
from fastgan.runtime.device import choose_algorithms
from fastgan.training.engine import Engine

ROUNDS = 5
SECONDS = 1.0  # a row and round
BASE = "naive step, constant input"
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
        self.trainer = Engine(self.config, images, DEVICE)
        self.feed, self.iterations = self.trainer.feed, self.trainer.iterations
        self.seen = 0
        for chunk in range(2):  # the whole ring
            self.feed.prefetch(chunk * self.feed.chunk, (chunk + 1) * self.feed.chunk)
        self.captured = self.iterations.prepare()
        choose_algorithms(False, DEVICE)

    def run(self, steps: int) -> None:
        """At least `steps` steps, as many at once as the loop takes."""
        several = self.iterations.unroll
        for _ in range(0, steps, several):
            if self.fed:
                self.feed.prefetch(self.seen, self.seen + several * self.config.batch_size)
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


class Table:
    """The figures of each row as they come, and why others have none; rewritten after each round."""

    def __init__(self, about: dict[str, Any], folder: Path) -> None:
        self.about, self.stem = about, folder / f"loop-{slug(about)}"
        self.found: dict[str, list[float]] = {}
        self.left_out: dict[str, str] = {}

    def lose(self, name: str, error: Exception) -> None:
        """A row has failed, or cannot be had here: the others go on."""
        self.left_out[name] = said(error)
        print(f"{name}: {self.left_out[name]}", file=sys.stderr, flush=True)
        if not isinstance(error, ConfigError):
            traceback.print_exception(error)

    def write(self) -> str:
        """Keep what there is; returns the table."""
        medians = {name: statistics.median(values) for name, values in self.found.items() if values}
        base = medians.get(BASE)
        lines = [f"{'row':40}{'median ms':>12}{'least':>10}{'most':>10}{'steps/s':>12}{'images/s':>12}{'times':>8}"]
        rows = {}
        for name, median in medians.items():
            values, times = self.found[name], None if base is None else base / median
            rows[name] = {"median_ms": median, "rounds_ms": values, "steps_per_s": 1e3 / median, "times": times}
            lines.append(
                f"{name:40}{median:12.4f}{min(values):10.4f}{max(values):10.4f}{1e3 / median:12,.0f}"
                f"{1e3 * self.about['batch_size'] / median:12,.0f}"
                + (f"{'-':>8}" if times is None else f"{times:8.2f}")
            )
        lines += [f"left out: {name}: {why}" for name, why in self.left_out.items()]
        lines += [f"{key}: {value}" for key, value in self.about.items()]
        keep(self.stem, lines, {"about": self.about, "rows": rows, "left_out": self.left_out})
        return "\n".join(lines)


def _naively(config: TrainConfig, images: ImageSet) -> Callable[[int], object]:
    naive = make_row("naive_step", config, images)

    def run(steps: int) -> None:
        for _ in range(steps):
            naive.train(naive.load())

    return run


def _ours(config: TrainConfig, images: ImageSet, changes: dict[str, Any]) -> Callable[[int], object]:
    way = Way(config, images, **changes)
    if way.config.capture and not way.captured:
        raise ConfigError("could not be captured")
    return way.run


def main(folder: Path = ROOT / "bench" / "results") -> int:
    """Build all rows, time them in turns, print the table and keep it in `folder`; 1 if a row has failed."""
    config, images, kind = load_images()
    table = Table({"data": kind, "batch_size": config.batch_size, "rounds": ROUNDS, **machine()}, folder)
    builds = {BASE: partial(_naively, config, images)}
    builds |= {name: partial(_ours, config, images, changes) for name, changes in ROWS.items()}
    runs: dict[str, Callable[[int], object]] = {}
    steps, failed = {}, 0
    for name, build in builds.items():
        try:
            run = build()
            run(40)
            torch.cuda.synchronize()
            steps[name] = max(40, int(1e3 * SECONDS / milliseconds(run, 40)) // 8 * 8)
            runs[name], table.found[name] = run, []
        except Exception as error:  # noqa: BLE001 - whatever it was: the other rows go on
            table.lose(name, error)
            failed |= not isinstance(error, ConfigError)
    for names in in_turns(list(runs), ROUNDS):
        for name in names:
            try:
                if name in runs:
                    table.found[name].append(milliseconds(runs[name], steps[name]))
            except Exception as error:  # noqa: BLE001 - as above
                table.lose(name, error)
                del runs[name]
                failed = 1
        table.write()
    print(table.write())
    return int(failed)


if __name__ == "__main__":
    sys.exit("needs a CUDA GPU" if DEVICE.type != "cuda" else main())
