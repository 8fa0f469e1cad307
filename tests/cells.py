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


def main() -> None:
    """What is said of three groups of which a share of the images is sorted by stain, the others by shape; a table."""
    from fastgan.evaluation import followed, properties

    every, seeds = torch.arange(400), range(10)
    print("of 10 sets of 400 images, those whose groups are said to follow something, without labels / with them")
    for strength in (0.0, 0.1, 0.3, 1.0):
        told = []
        for share in (0.0, 0.5, 0.7, 0.8, 0.9, 1.0):
            found = [0, 0]
            for seed in seeds:
                images = image_set(400, strength=strength, seed=seed)
                assert images.labels is not None and images.paths is not None
                shapes_N = images.labels.numpy()
                laboratories_N = np.array([LABORATORIES.index(path.split("/")[0]) for path in images.paths])
                by_stain_N = np.random.default_rng(seed).random(400) < share
                codes_N = np.where(by_stain_N, laboratories_N, shapes_N)
                measured = properties.of_pixels(images.images, every)
                for labelled in (0, 1):
                    rows = followed.follow(codes_N, measured, shapes_N if labelled else None)
                    found[labelled] += any(row.clearly for row in rows)
            told.append(f"{share:.0%}: {found[0]} / {found[1]}")
        print(f"stains {strength:g} apart, by stain {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
