"""Where the captured step's time goes on a GPU, kernel by kernel: `python -m bench.gpu.profile`.

For the paper's recipe and the default one, compiled, in bfloat16, on images and transforms that stay in the ring: each
kernel's launches and microseconds a step, and how long the device was idle between kernels.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from bench.gpu.loop import Way, milliseconds
from bench.measure import machine, slug
from bench.rows import DEFAULT_RECIPE, DEVICE, ROOT, load_images

STEPS = 64
SHOWN = 45  # kernels of each recipe
WIDTH = 90  # of a kernel's name
RECIPES: dict[str, dict[str, Any]] = {"the paper's recipe": {}, "the default recipe": DEFAULT_RECIPE}


def table(way: Way) -> list[str]:
    """Lines for one way to train: its kernels by time, and the sums."""
    way.run(40)
    wall = 1e3 * milliseconds(way.run, STEPS)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        way.run(STEPS)
        torch.cuda.synchronize()
    launches: dict[str, int] = defaultdict(int)
    spent: dict[str, float] = defaultdict(float)
    for event in found.events() or []:
        if event.device_type.name == "CUDA":
            launches[event.name] += 1
            spent[event.name] += event.device_time_total
    busy, every = sum(spent.values()) / STEPS, sum(launches.values()) / STEPS
    lines = [f"{wall:.0f} us a step without the profiler; {every:.0f} kernels, busy for {busy:.0f} us"]
    lines += [f"{'us a step':>10}{'launches':>10}  kernel"]
    for name in sorted(spent, key=lambda name: -spent[name])[:SHOWN]:
        lines.append(f"{spent[name] / STEPS:10.1f}{launches[name] / STEPS:10.1f}  {name[:WIDTH]}")
    return lines


def main() -> int:
    """Profile both recipes and keep the tables."""
    config, images, kind = load_images()
    about = {"data": kind, **machine()}
    lines = []
    for name, recipe in RECIPES.items():
        lines += [name, *table(Way(config, images, compile=True, **recipe)), ""]
    text = "\n".join([*lines, *(f"{key}: {value}" for key, value in about.items())])
    print(text)
    (ROOT / "bench" / "results" / f"profile-{slug(about)}.txt").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit("needs a CUDA GPU" if DEVICE.type != "cuda" else main())
