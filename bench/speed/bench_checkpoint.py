"""What checkpoints cost at the presets' cadence: the seconds of one, beside those of the training between two.

    pytest bench/speed/bench_checkpoint.py [--save-results]

On MNIST (or digits at its size) and on images of 64x64x3, by their presets in bfloat16 with the default networks. A
checkpoint is what a run writes: weights, optimisers, averaged generator and groups, hashed and synced to disk. Where it
would take more than `--save-share` of the time, a run writes fewer of them; the share given is that without this.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.conftest import Results
from bench.gpu.loop import Way
from bench.measure import machine, slug
from bench.rows import DEFAULT_RECIPE, DEVICE, load_images
from bench.timing import seconds
from fastgan.config.presets import preset
from fastgan.config.schedule import resolve_schedule
from fastgan.config.schema import TrainConfig
from fastgan.data import image_set
from fastgan.data.image_set import ImageSet
from fastgan.runs import checkpoint
from fastgan.runtime.process import tune_malloc

SAVES = 8
PHOTOGRAPHS = 10_000


def _photographs(folder: Path) -> tuple[TrainConfig, ImageSet]:
    config = resolve_schedule(dataclasses.replace(preset("folder"), data_dir=folder), PHOTOGRAPHS)
    draw = torch.Generator().manual_seed(0)
    shape = (PHOTOGRAPHS, config.channels, config.image_size, config.image_size)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=draw)
    return config, image_set.ImageSet("folder", pixels, None, 0)


def _save(folder: Path, number: int, parts: Callable[[], checkpoint.Parts]) -> None:
    checkpoint.save(folder, number, parts())


def _measured(way: Way, folder: Path, steps: int) -> tuple[list[float], float]:
    """Seconds of each save, and of one step."""
    trainer = way.trainer

    def parts() -> checkpoint.Parts:
        groups = {"feed.groups": trainer.feed.groups}
        return {"model": trainer.step.model.state_dict(), "training": trainer.step.training_state() | groups}

    way.run(steps)
    each, saves = [], []
    for number in range(SAVES):  # in turns, so that a slow spell meets both
        each.append(seconds(lambda: way.run(steps)) / steps)
        saves.append(seconds(partial(_save, folder, number, parts)))
    return saves, statistics.median(each)


def test_share_of_checkpoints(tmp_path: Path, results: Results) -> None:
    tune_malloc()
    config, images, kind = load_images()
    photographs, noise = _photographs(tmp_path)
    lines, values = ["checkpoints at the presets' cadence"], dict[str, Any]()
    steps = 640 if DEVICE.type == "cuda" else 4
    for name, way, every in (
        (
            kind,
            Way(config, images, **DEFAULT_RECIPE),
            preset("mnist").save_every * (len(images.images) // config.batch_size),
        ),
        (
            f"{PHOTOGRAPHS:,} images of 64x64x3",
            Way(photographs, noise),
            photographs.save_every * (PHOTOGRAPHS // photographs.batch_size),
        ),
    ):
        saves, step = _measured(way, tmp_path / str(len(values)), steps)
        size = sum(file.stat().st_size for file in max((tmp_path / str(len(values))).iterdir()).iterdir())
        save = statistics.median(saves)
        share = save / (save + every * step)
        lines += [
            f"{name}: {size / 2**20:,.0f} MiB in {save:.2f} s (least {min(saves):.2f}, most {max(saves):.2f}), every "
            f"{every:,} steps of {1e3 * step:.1f} ms: {share:.2%} of the time (aim: below 2%)"
        ]
        values[name] = {"bytes": size, "saves_s": saves, "step_s": step, "steps_between": every, "share": share}
    about = machine()
    lines += [f"{key}: {value}" for key, value in about.items()]
    results.add(f"checkpoint-{slug(about)}", "\n".join(lines), {"about": about, "rows": values})
