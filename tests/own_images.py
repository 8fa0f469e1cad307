"""A folder of small images of one colour each, for the tests of the data set `folder`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from fastgan.data import ImageSet, folder

KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".pgm": "PPM"}


def put(path: Path, colour: Any = 7, mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    Image.new(mode, (8, 8), colour).save(path, KINDS.get(suffix, suffix[1:]))
    return path


def load(here: Path, size: int = 8, channels: int = 1, **options: bool) -> ImageSet:
    return folder.full(here, size, channels, **options)


def colours(images: ImageSet) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()
