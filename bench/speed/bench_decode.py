"""Decoding a folder of images: fastgan, and what one would write with torchvision or DALI.

    pytest bench/speed/bench_decode.py [--save-results]

Each pass reads every file of a folder once and gives uint8 images of one size: "ours" scans the folder, decodes it and
writes its cache, from which later passes and runs read instead; the others decode into memory, know their files
beforehand and keep their workers. DALI runs a batch at a time: what it decodes ahead would be paid by the row after it.
All resize by antialiased cubic interpolation. No figure without rows that see the same images.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import io
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from bench.conftest import Results
from bench.measure import machine, slug
from bench.studies.photographs import write_folder
from bench.timing import Timing, compare
from fastgan.data import folder
from fastgan.data.scan import scan

CORES = os.cpu_count() or 1
BATCH = 64
DALI_BATCH = 32  # divides every count below
FAR = 4.0  # mean difference of two rows' images, of 255, that only another image explains
HEAD = f"  {'':34}{'images/s':>12}{'p20':>12}{'p80':>12}{'ours is times':>16}"


@dataclass(frozen=True)
class Kind:
    """A folder of like files, and what is to come of them."""

    title: str
    count: int
    size: tuple[int, int]
    format: str
    channels: int = 3
    side: int = 64


KINDS = (
    Kind("JPEG of 64x64", 4096, (64, 64), "JPEG"),
    Kind("JPEG of 256x256", 384, (256, 256), "JPEG"),
    Kind("JPEG of 512x512", 160, (512, 512), "JPEG"),
    Kind("JPEG of 1500x1000", 32, (1500, 1000), "JPEG"),
    Kind("PNG of 512x512", 64, (512, 512), "PNG"),
    Kind("PNG of 28x28, grey, as it is", 4096, (28, 28), "PNG", channels=1, side=28),
)

Decoder = Callable[[], Tensor]  # uint8 [N, C, S, S]


def _ours(here: Path, kind: Kind) -> Decoder:
    kept = here.with_name(f"{here.name}-cache")

    def call() -> Tensor:
        shutil.rmtree(kept, ignore_errors=True)
        return folder.full(here, kind.side, kind.channels, cache_dir=kept).images

    return call


def _image_folder(here: Path, kind: Kind, workers: int) -> Decoder:
    steps = [v2.Resize(kind.side, v2.InterpolationMode.BICUBIC), v2.CenterCrop(kind.side), v2.PILToTensor()]
    images = ImageFolder(here, v2.Compose([v2.Grayscale(), *steps] if kind.channels == 1 else steps))
    loader = DataLoader(images, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)

    def call() -> Tensor:
        return torch.cat([batch for batch, _ in loader])

    return call


def _torchvision_io(files: Sequence[str], kind: Kind, pool: ThreadPoolExecutor) -> Decoder:
    mode = io.ImageReadMode.GRAY if kind.channels == 1 else io.ImageReadMode.RGB

    def one(file: str) -> Tensor:
        image = v2.functional.resize(io.decode_image(file, mode), [kind.side], v2.InterpolationMode.BICUBIC)
        return v2.functional.center_crop(image, [kind.side, kind.side])

    return lambda: torch.stack(list(pool.map(one, files)))


def _dali(files: Sequence[str], kind: Kind) -> Decoder:
    from nvidia.dali import Pipeline, fn, types

    pipeline = Pipeline(
        batch_size=DALI_BATCH, num_threads=CORES, device_id=None, prefetch_queue_depth=1, exec_async=False,
        exec_pipelined=False,
    )  # fmt: skip
    with pipeline:
        content, _ = fn.readers.file(files=list(files))
        images = fn.decoders.image(content, output_type=types.GRAY if kind.channels == 1 else types.RGB)
        images = fn.resize(images, resize_shorter=kind.side, interp_type=types.INTERP_CUBIC, antialias=True)
        pipeline.set_outputs(fn.crop(images, crop=(kind.side, kind.side)))
    pipeline.build()

    def call() -> Tensor:
        batches = [torch.from_numpy(pipeline.run()[0].as_array()) for _ in range(len(files) // DALI_BATCH)]
        return torch.cat(batches).permute(0, 3, 1, 2)

    return call


def candidates(here: Path, kind: Kind, pool: ThreadPoolExecutor, absent: list[str]) -> dict[str, Decoder]:
    """The rows for a folder. Workers are forked first, before there are threads of DALI's."""
    files = [str(here / entry.path) for entry in scan(here).entries]
    found = {"ours, cache written": _ours(here, kind)}
    for workers in (CORES, 0):
        found[f"ImageFolder, DataLoader, {workers} workers"] = _image_folder(here, kind, workers)
    found["torchvision.io, threads"] = _torchvision_io(files, kind, pool)
    images = {name: call().float() for name, call in found.items()}
    try:
        found["DALI"] = _dali(files, kind)
        images["DALI"] = found["DALI"]().float()
    except Exception as error:  # noqa: BLE001 - missing, or broken in one of many ways
        found.pop("DALI", None)
        absent.append(f"DALI ({str(error).strip().splitlines()[0]})")
    for name, theirs in images.items():
        apart = float((theirs - images["ours, cache written"]).abs().mean())
        assert apart < FAR, f"no figures: {name} sees other images, {apart:.1f} of 255 apart"
    return found


def _lines(timings: dict[str, Timing], count: int) -> Iterator[str]:
    ours = next(iter(timings.values())).median_us
    for name, t in timings.items():
        rates = "".join(f"{1e6 * count / each:12,.0f}" for each in (t.median_us, t.p80_us, t.p20_us))
        yield f"  {name:34}{rates}{t.median_us / ours:16.2f}"


def test_decode(tmp_path: Path, results: Results) -> None:
    lines, values, absent = ["decoding"], dict[str, Any](), list[str]()
    with warnings.catch_warnings(), ThreadPoolExecutor(CORES) as pool:
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python's, that workers are forked beside threads
        for number, kind in enumerate(KINDS):
            here = tmp_path / str(number)
            mode = "L" if kind.channels == 1 else "RGB"
            total = write_folder(here, kind.count, kind.count, kind.size, kind.format, mode)
            timings = compare(candidates(here, kind, pool, absent), capture=False)
            lines += [f"{kind.count:,} {kind.title} ({total / kind.count / 1024:.1f} KiB each)", HEAD]
            lines += _lines(timings, kind.count)
            values[kind.title] = {
                name: {**vars(t), "images_per_s": 1e6 * kind.count / t.median_us} for name, t in timings.items()
            }
    about = machine()
    lines += [f"left out: {', '.join(sorted(set(absent)))}"] if absent else []
    lines += [f"{key}: {value}" for key, value in about.items()]
    results.add(f"decode-{slug(about)}", "\n".join(lines), {"about": about, "tables": values, "absent": absent})
