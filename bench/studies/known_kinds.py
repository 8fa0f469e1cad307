"""Sets of small images whose number of kinds is known, for studies of how many classes to choose.

Legend: N images, S the side in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits

from bench.rows import ROOT
from fastgan.data import mnist

SIDE = 16
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images, uint8 [N, S, S], and the kind of each, int64 [N]."""
# The first 40 of these that look different in every one of the fonts: no O beside 0, no small letters like capitals.
CHARACTERS = "ABCDEFGHIJKLMNPQRSTUVWXYZ23456789abdeghn"
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")


@dataclass(frozen=True)
class Kinds:
    """A set: what it is, how many images of how many kinds it has, the K that a user tries, and how it is made."""

    title: str
    images: int
    count: int
    tried: tuple[int, ...]
    make: Callable[[], Labelled]


def write(name: str, folder: Path) -> Path:
    """The images of a set as a .npz file without their kinds, made if it is absent."""
    path = folder / f"{name}.npz"
    if not path.exists():
        images, _ = KINDS[name].make()
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}.npz"
        np.savez_compressed(partial, images=images)
        partial.replace(path)
    return path


def _two() -> Labelled:
    return _of_mnist("mnist", {2: 1000, 7: 400})


def _five() -> Labelled:
    return _of_mnist("fashion-mnist", {1: 600, 8: 500, 7: 400, 3: 300, 2: 200})


def _digits() -> Labelled:
    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8), labels.astype(np.int64)


def _forty() -> Labelled:
    """Each character 60 times: one of four fonts, turned by up to 8 degrees, moved by up to a pixel, with noise."""
    draws = np.random.default_rng(0)
    fonts = [_font(name) for name in FONTS]
    images, labels = [], []
    for label, character in enumerate(CHARACTERS):
        for _ in range(60):
            sheet = Image.new("L", (4 * SIDE, 4 * SIDE))
            middle = tuple(2 * SIDE + draws.uniform(-4, 4, 2))
            ImageDraw.Draw(sheet).text(middle, character, 255, fonts[draws.integers(len(fonts))], anchor="mm")
            turned = sheet.rotate(draws.uniform(-8, 8), Image.Resampling.BILINEAR)
            small = np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
            images.append((small + draws.normal(0, 8, small.shape)).clip(0, 255).round().astype(np.uint8))
            labels.append(label)
    return np.stack(images), np.array(labels)


def _font(name: str) -> ImageFont.FreeTypeFont:
    """One of the fonts that matplotlib brings."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), 3 * SIDE)


def _of_mnist(name: str, counts: dict[int, int]) -> Labelled:
    """So many of the first images of some classes of MNIST or FashionMNIST, 16x16."""
    place = Path(os.environ.get("FASTGAN_DATA") or ROOT.parent / "shared" / "data") / name
    everything = mnist.everything(place, SIDE, name)
    assert everything.labels is not None
    rows = torch.cat([torch.nonzero(everything.labels == kind)[:count, 0] for kind, count in counts.items()])
    return everything.images[rows, 0].numpy(), everything.labels[rows].numpy()


KINDS = {
    "two": Kinds("digits 2 and 7 of MNIST, 1,000 and 400 images", 1400, 2, (2, 3, 4), _two),
    "five": Kinds("five classes of FashionMNIST, 600 to 200 images", 2000, 5, (3, 5, 7, 10), _five),
    "digits": Kinds("scikit-learn's ten digits, 1,797 images", 1797, 10, (5, 8, 10, 14, 20), _digits),
    "forty": Kinds("40 characters in four fonts, 2,400 images", 2400, 40, (20, 40), _forty),
}
