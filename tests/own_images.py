"""Image files for the tests of the data sets `folder` and `youtube-faces`: of one colour each, or cut from photographs.

The photographs come with scikit-learn (two) and matplotlib (one).
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import sklearn
from PIL import Image

from fastgan.data import folder
from fastgan.data.image_set import ImageSet

KINDS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".pgm", ".ppm", ".pbm", ".pnm", ".pfm"), "PPM"),
    **{".tif": "TIFF", ".apng": "PNG"},
}
PHOTOGRAPHS = {
    "china": Path(sklearn.__file__).parent / "datasets" / "images" / "china.jpg",
    "flower": Path(sklearn.__file__).parent / "datasets" / "images" / "flower.jpg",
    "hopper": Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
}
VIDEOS = (0, 2, 5, 10)  # their numbers have gaps, and 10 comes last
SIDES = (301, 319)  # of a video's frames, in turn
FACE = 108


def put(path: Path, colour: Any = 7, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    Image.new(mode, (8, 8), colour).save(path, KINDS.get(suffix, suffix[1:]))
    return path


def speckled(path: Path, seed: int) -> Path:
    """A file of 8x8 random grey pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return path


def load(here: Path, size: int = 8, channels: int = 1, **options: bool) -> ImageSet:
    return folder.full(here, size, channels, **options)


def colours(images: ImageSet) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


@cache
def photograph(name: str) -> Image.Image:
    with Image.open(PHOTOGRAPHS[name]) as image:
        return image.convert("RGB")


def cut(name: str, side: int, draw: np.random.Generator) -> Image.Image:
    """A square of so many pixels from somewhere in a photograph."""
    image = photograph(name)
    left, top = int(draw.integers(image.width - side + 1)), int(draw.integers(image.height - side + 1))
    return image.crop((left, top, left + side, top + side))


def natural_patches(here: Path, per_class: int = 20, side: int = 64, seed: int = 0) -> Path:
    """A folder with a subfolder a photograph, of patches cut from it at random."""
    draw = np.random.default_rng(seed)
    for name in PHOTOGRAPHS:
        (here / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            cut(name, side, draw).save(here / name / f"{number:03d}.jpg", quality=90)
    return here


def png_bomb(side: int = 9_750, *, said: int | None = None) -> bytes:
    """A PNG file of side x side black pixels, 95 million in some 100 KB; `said` is what its header claims instead."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", said or side, said or side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def youtube_faces_tree(
    here: Path,
    people: int = 3,
    videos: int = 2,
    frames: int = 6,
    tree: str = "aligned_images_DB",
    first_frame: int = 8,
    seed: int = 0,
) -> Path:
    """A tree in the layout of YouTube-Faces in the folder `here`, which is returned.

    The n-th person, from 0, has `frames` + n frames in each video: a "face" of 108 pixels, cut from one photograph at a
    place of their own, in the middle of a background from another; from the frame number `first_frame` on.
    """
    draw = np.random.default_rng(seed)
    names = list(PHOTOGRAPHS)
    for n in range(people):
        face = cut(names[n % len(names)], FACE, draw)
        for video, side in zip(VIDEOS[:videos], SIDES * 2, strict=False):
            place = here / tree / f"Person_{chr(ord('A') + n)}" / str(video)
            place.mkdir(parents=True)
            prefix = "aligned_detect_" if tree == "aligned_images_DB" else ""
            for number in range(first_frame, first_frame + frames + n):
                frame = cut(names[(n + 1) % len(names)], side, draw)
                frame.paste(face, ((side - FACE) // 2, (side - FACE) // 2))
                frame.save(place / f"{prefix}{video}.{number}.jpg", quality=90)
    return here


def dark_and_light(folder: Path) -> None:
    """40 files of 32x32 RGB pixels of each of two kinds, in a subfolder each."""
    for label, level in (("dark", 40), ("light", 200)):
        (folder / label).mkdir(parents=True)
        for i in range(40):
            pixels = np.random.default_rng(i).integers(level, level + 30, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
