"""Transforms of images, a call at a time: DALI, tensor operations, and PIL image by image.

    pytest bench/speed/bench_augment.py [--save-results]

Each call takes uint8 images on the device and gives their transforms in [-1, 1] there, what is drawn for them included:
rotation, inscribed crop and zoom, as training has them. DALI's warp is linear, PIL's and the default of the tensor
operations is bicubic. No figure without green twins.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.conftest import Results
from bench.measure import machine, slug
from bench.naive import TwoViews
from bench.rows import DEVICE, ROOT
from bench.timing import Timing, compare
from fastgan.augment.dali import DaliTransform, DaliUnavailableError
from fastgan.augment.factory import Transform
from fastgan.augment.tensor import TensorTransform
from fastgan.config.schema import TransformConfig
from fastgan.data import digits

COUNTS = (64, 1024, 8192)
SHAPES = ((1, 28), (3, 64))  # channels, side
HEAD = f"  {'':30}{'median us':>14}{'p20':>14}{'p80':>14}{'images/s':>14}"


@pytest.fixture(scope="session")
def backends_agree() -> None:
    """DALI and the tensor operations make the same images, or there are no figures."""
    tests = (
        ["tests/training/test_cuda_graphs_gpu.py", "-m", "gpu"]
        if DEVICE.type == "cuda"
        else ["tests/augment/test_dali.py"]
    )
    command = [sys.executable, "-m", "pytest", *tests, "-q", "-k", "same_images"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"no figures, since {' '.join(command[1:])} fails:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")


def pictures(count: int, channels: int, side: int) -> Tensor:
    """uint8 [count, channels, side, side] on the device: real digits, again and again."""
    images = digits.full(side).images
    return images.repeat(-(-count // len(images)), channels, 1, 1)[:count].contiguous().to(DEVICE)


def _through(transform: Transform, images: Tensor) -> Callable[[], Tensor]:
    def call() -> Tensor:
        transform.start(images, 0)
        return transform.finish()

    return call


def _by_pil(images: Tensor) -> Callable[[], Tensor]:
    """One image after the other, as the naive loop has it."""
    arrays = images.permute(0, 2, 3, 1).cpu().numpy()
    arrays = arrays[..., 0] if arrays.shape[3] == 1 else arrays

    def call() -> Tensor:
        views = [np.asarray(TwoViews.transformed(Image.fromarray(array))) for array in arrays]
        return torch.from_numpy(np.stack(views)).to(DEVICE).to(torch.float32).div_(127.5).sub_(1.0)

    return call


def candidates(count: int, channels: int, side: int, absent: list[str]) -> dict[str, Callable[[], object]]:
    images, seed = pictures(count, channels, side), torch.tensor(5, device=DEVICE)
    found: dict[str, Callable[[], object]] = {}
    try:
        dali = DaliTransform(TransformConfig(), seed, channels=channels, size=side, most=count, device=DEVICE)
        found["dali, linear"] = _through(dali, images)
    except DaliUnavailableError as error:
        absent.append(f"DALI ({error})")
    for interpolation, name in (("bilinear", "tensor, linear"), ("bicubic", "tensor, bicubic")):
        config = TransformConfig(interpolation=interpolation)  # type: ignore[arg-type]
        found[name] = _through(TensorTransform(config, seed, torch.float32), images)
    found["PIL, bicubic, one by one"] = _by_pil(images)
    return found


def _lines(timings: dict[str, Timing], count: int) -> list[str]:
    return [
        f"  {name:30}{t.median_us:14.1f}{t.p20_us:14.1f}{t.p80_us:14.1f}{1e6 * count / t.median_us:14,.0f}"
        for name, t in timings.items()
    ]


def test_transforms(backends_agree: None, results: Results) -> None:
    lines, values, absent = ["transforms"], {}, list[str]()
    for channels, side in SHAPES:
        for count in COUNTS:
            timings = compare(candidates(count, channels, side, absent), capture=False)
            title = f"{count:,} images a call, {side}x{side}x{channels}"
            lines += [title, HEAD, *_lines(timings, count)]
            values[title] = {
                name: {**vars(t), "images_per_s": 1e6 * count / t.median_us} for name, t in timings.items()
            }
            # After each, so that what has been timed outlasts an interruption.
            about = machine()
            notes = [f"left out: {', '.join(sorted(set(absent)))}"] if absent else []
            table = "\n".join([*lines, *notes, *(f"{key}: {value}" for key, value in about.items())])
            results.add(f"augment-{slug(about)}", table, {"about": about, "tables": values, "absent": absent})
