"""Generated images of cells: three shapes, stained in two laboratories, whose stains differ as much as is asked for.

The shape is the class that someone looks for; the stain is what a model may sort by instead.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fastgan.data.image_set import ImageSet
from fastgan.evaluation import followed, properties

SHAPES = ("lobed", "round", "spindle")
LABORATORIES = ("basel", "lyon")
# Colours of the ground and of the cell, by laboratory, in [0, 1].
STAINS = np.array([[[0.93, 0.86, 0.92], [0.50, 0.25, 0.62]], [[0.86, 0.91, 0.84], [0.72, 0.42, 0.34]]])
NOISE = 0.03  # standard deviation of a pixel


def draw(
    count: int, *, side: int = 32, strength: float = 1.0, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Images uint8 [N, 3, S, S], the number of each one's shape, int64 [N], and of its laboratory, int64 [N].

    Args:
        strength: how far the stains are apart; 0: both laboratories stain alike.
    """
    random = np.random.default_rng(seed)
    shapes_N, laboratories_N = random.permutation(count) % len(SHAPES), random.permutation(count) % len(LABORATORIES)
    mean = STAINS.mean(0)
    images = np.empty((count, 3, side, side), np.uint8)
    for i in range(count):
        ground, cell = mean + strength * (STAINS[laboratories_N[i]] - mean)
        inside = _mask(SHAPES[shapes_N[i]], side, random)[None]
        shade = random.uniform(0.92, 1.05)  # of the lamp
        pixels = shade * (ground[:, None, None] * (1 - inside) + cell[:, None, None] * inside)
        pixels += NOISE * random.standard_normal(pixels.shape)
        images[i] = (255 * pixels).round().clip(0, 255).astype(np.uint8)
    return images, shapes_N.astype(np.int64), laboratories_N.astype(np.int64)


def _mask(shape: str, side: int, random: np.random.Generator) -> NDArray[np.float64]:
    """How far each pixel lies within one cell, [S, S] in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    x, y = x - random.uniform(-0.08, 0.08), y - random.uniform(-0.08, 0.08)
    turn, radius = random.uniform(0, 2 * np.pi), random.uniform(0.20, 0.26)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if shape == "spindle":  # of the same area as the round ones
        distance = np.hypot(u / 1.8, v * 1.8) - radius
    elif shape == "lobed":
        distance = np.hypot(u, v) - radius * (1 + 0.45 * np.cos(3 * np.arctan2(v, u)))
    else:
        distance = np.hypot(u, v) - radius
    return 1 / (1 + np.exp(distance * side * 2))


def image_set(count: int, *, side: int = 32, strength: float = 1.0, seed: int = 0) -> ImageSet:
    """The images with their shapes as labels, and paths that name the laboratories."""
    images, shapes_N, laboratories_N = draw(count, side=side, strength=strength, seed=seed)
    paths = tuple(f"{LABORATORIES[lab]}/{number:04d}.png" for number, lab in enumerate(laboratories_N.tolist()))
    return ImageSet("folder", torch.from_numpy(images), torch.from_numpy(shapes_N), len(SHAPES), paths, SHAPES)


def write(folder: Path, count: int, *, side: int = 32, strength: float = 1.0, seed: int = 0) -> Path:
    """Files SHAPE/LABORATORY/NUMBER.png, so that --labels-from-folders reads the shapes."""
    images, shapes_N, laboratories_N = draw(count, side=side, strength=strength, seed=seed)
    for number, (image, shape, lab) in enumerate(zip(images, shapes_N, laboratories_N, strict=True)):
        place = folder / SHAPES[shape] / LABORATORIES[lab]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(place / f"{number:04d}.png")
    return folder


SHARES = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)
SETS = 10  # of COUNT images each
COUNT = 400


def found(strength: float, seed: int) -> list[tuple[bool, bool]]:
    """Whether groups are said to follow something, without and with labels, by the share that is sorted by stain."""
    images = image_set(COUNT, strength=strength, seed=seed)
    assert images.labels is not None and images.paths is not None
    shapes_N, random = images.labels.numpy(), np.random.default_rng(seed)
    laboratories_N = np.array([LABORATORIES.index(path.split("/")[0]) for path in images.paths])
    measured = properties.of_pixels(images.images, torch.arange(COUNT))
    told = []
    for share in SHARES:
        codes_N = np.where(random.random(COUNT) < share, laboratories_N, shapes_N)
        rows = [followed.follow(codes_N, measured, labels) for labels in (None, shapes_N)]
        told.append((any(row.clearly for row in rows[0]), any(row.clearly for row in rows[1])))
    return told


def main() -> None:
    """A table: three groups of which a share of the images is sorted by stain, the others by shape."""
    print(f"of {SETS} sets of {COUNT} images: groups said to follow something they show, without labels / with them")
    for strength in (0.0, 0.1, 0.3, 1.0):
        told = np.array([found(strength, seed) for seed in range(SETS)]).sum(0)
        parts = [f"{share:.0%}: {a} / {b}" for share, (a, b) in zip(SHARES, told.tolist(), strict=True)]
        print(f"stains {strength:g} apart, sorted by stain {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
