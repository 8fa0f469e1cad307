"""Image files to decode, cut at random from three photographs that ship with scikit-learn and matplotlib."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import sklearn
from PIL import Image

SOURCES = (
    Path(sklearn.__file__).parent / "datasets" / "images" / "china.jpg",
    Path(sklearn.__file__).parent / "datasets" / "images" / "flower.jpg",
    Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
)
GRAIN = 4.0  # standard deviation of noise on a patch, which enlarged ones lack: its JPEG file is as long as a camera's
A_FOLDER = 1000  # files


def patches(count: int, width: int, height: int, mode: str, seed: int = 0) -> Iterator[Image.Image]:
    """`count` images of one size, each a part of a photograph that is drawn at random, scaled, with grain."""
    draw = np.random.default_rng(seed)
    photographs = [Image.open(source).convert(mode) for source in SOURCES]
    for _ in range(count):
        whole = photographs[draw.integers(len(photographs))]
        most = min(whole.width / width, whole.height / height)
        scale = most * draw.uniform(0.3, 1.0)
        left = draw.uniform(0, whole.width - scale * width)
        top = draw.uniform(0, whole.height - scale * height)
        box = (left, top, left + scale * width, top + scale * height)
        patch = np.asarray(whole.resize((width, height), Image.Resampling.BICUBIC, box, reducing_gap=2.0), np.float32)
        grain = GRAIN * draw.standard_normal(patch.shape, np.float32)
        yield Image.fromarray((patch + grain).round().clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str) -> bytes:
    """The content of an image file; JPEG as most cameras and tools write it (quality 85, colours at half size)."""
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 85} if kind == "JPEG" else {}))
    return out.getvalue()


def write_folder(folder: Path, count: int, distinct: int, size: tuple[int, int], kind: str, mode: str = "RGB") -> int:
    """Write `count` files into subfolders of 1,000, `distinct` of them drawn and the others hard links; returns the
    bytes that decoding reads."""
    suffix, names, total = {"JPEG": "jpg", "PNG": "png"}[kind], [], 0
    images = patches(min(distinct, count), *size, mode)
    for number in range(count):
        path = folder / f"{number // A_FOLDER:03d}" / f"{number:06d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = next(images, None)
        if image is not None:
            path.write_bytes(encoded(image, kind))
            names.append(path)
        else:
            _again(names[number % len(names)], path)
        total += path.stat().st_size
    return total


def _again(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links, or one that counts few
        shutil.copyfile(source, target)
