"""Images that show the same: equal pixels, or nearly equal ones, as a file saved twice has.

Legend: N images, M pairs, B of a batch, P pixels, Q principal components.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.seeding import shuffled

# Two images are near-duplicates when their distance in pixels is below this part of the median distance of two images
# that are drawn at random.
NEAR = 0.1
COMPONENTS = 32  # in which candidates are looked for
BLOCK = 1024  # images that are compared with the others at a time
MOST_PAIRS = 200_000  # candidates, at most: where nearly all images are alike, more tell nothing
DRAWN = 2000  # pairs of which the median distance is taken
AT_ONCE = 256  # images read at a time, some of them as floats


@dataclass(frozen=True)
class DuplicatePair:
    """Two images, by index, `first` < `second`, and their distance in pixels in units of that of two random images;
    0 for equal pixels."""

    first: int
    second: int
    distance: float


def near_duplicates(images_NCHW: Tensor, seed: int) -> list[DuplicatePair]:
    """Pairs of images with nearly the same pixels, the nearest first; of many equal images, each with the first.

    Args:
        images_NCHW: uint8.
    """
    count = len(images_NCHW)
    usual = _usual_distance(images_NCHW, seed) if count > 2 else 0.0
    if usual == 0:
        return []
    first_N = _first_equal(images_NCHW)
    same = [DuplicatePair(first, i, 0.0) for i, first in enumerate(first_N) if first != i]
    rows_U = torch.tensor([i for i, first in enumerate(first_N) if first == i])
    pairs_M2 = rows_U[_near_pairs(_few_dimensions(images_NCHW)[rows_U], NEAR * usual)].sort(1).values
    return same + _confirmed(images_NCHW, pairs_M2, usual)


def _near_pairs(few_NQ: Tensor, bound: float) -> Tensor:
    """Pairs of rows nearer than `bound`, int64 [M, 2], at most MOST_PAIRS.

    Rows are sorted by their first component; only those in which it differs by less than `bound` are compared.
    """
    order_N = few_NQ[:, 0].argsort(stable=True)
    few_NQ = few_NQ[order_N]
    first_N, squares_N = few_NQ[:, 0].contiguous(), few_NQ.square().sum(1)
    found, left = [], MOST_PAIRS
    for start in range(0, len(few_NQ), BLOCK):
        rows_BQ = few_NQ[start : start + BLOCK]
        end = int(torch.searchsorted(first_N, rows_BQ[-1, 0] + bound, right=True))
        # |a - b|^2 as a product; below the bound with room for what float32 rounds.
        room = 1e-5 * float(squares_N[start:end].max())
        far_BE = torch.addmm(squares_N[start:end], rows_BQ, few_NQ[start:end].T, alpha=-2)
        near_BE = far_BE < bound**2 + room - squares_N[start : start + BLOCK, None]
        near_BE[:, : len(rows_BQ)].triu_(1)  # each pair once, and none of an image with itself
        pairs_M2 = near_BE.nonzero()[:left] + start
        found.append(pairs_M2)
        left -= len(pairs_M2)
    return order_N[torch.cat(found)]


def _confirmed(images_NCHW: Tensor, pairs_M2: Tensor, usual: float) -> list[DuplicatePair]:
    """Those of the pairs whose distance in pixels is small."""
    found = []
    for part_M2 in pairs_M2.split(AT_ONCE):
        distances = (_distances(images_NCHW, part_M2) / usual).tolist()
        rows = zip(part_M2.tolist(), distances, strict=True)
        found += [DuplicatePair(a, b, far) for (a, b), far in rows if far < NEAR]
    return sorted(found, key=lambda pair: (pair.distance, pair.first, pair.second))


def _usual_distance(images_NCHW: Tensor, seed: int) -> float:
    order_N = shuffled(len(images_NCHW), seed, "near-duplicates")
    half = min(DRAWN, len(order_N) // 2)
    return float(_distances(images_NCHW, torch.stack([order_N[:half], order_N[-half:]], 1)).median())


def _distances(images_NCHW: Tensor, pairs_M2: Tensor) -> Tensor:
    """Euclidean distances in pixels [M], in grey levels."""
    far_M = torch.empty(len(pairs_M2))
    for start in range(0, len(pairs_M2), AT_ONCE):
        pairs_B2 = pairs_M2[start : start + AT_ONCE].to(images_NCHW.device)
        first, second = (images_NCHW[pairs_B2[:, i]].cpu().flatten(1).float() for i in (0, 1))
        far_M[start : start + AT_ONCE] = (first - second).norm(dim=1)
    return far_M


def _few_dimensions(images_NCHW: Tensor) -> Tensor:
    """Images [N, Q], the first principal components of means of blocks of pixels, scaled so that no distance grows."""
    block = max(1, images_NCHW.shape[-1] // 8)
    across, down = (extent // block for extent in images_NCHW.shape[2:])
    # Made once and filled: small parts between large blocks would fragment the memory.
    pooled_NP = torch.empty(len(images_NCHW), images_NCHW.shape[1] * across * down)
    for start in range(0, len(images_NCHW), AT_ONCE):
        part = images_NCHW[start : start + AT_ONCE].cpu().float()
        pooled_NP[start : start + AT_ONCE] = F.avg_pool2d(part, block).flatten(1).mul_(block)
    pooled_NP -= pooled_NP.mean(0)
    _, axes_PP = torch.linalg.eigh(pooled_NP.T @ pooled_NP)
    return pooled_NP @ axes_PP.flip(1)[:, :COMPONENTS]


def _first_equal(images_NCHW: Tensor) -> list[int]:
    """The first image with the same pixels as each image; its own index where there is none before it."""
    seen: dict[bytes, int] = {}
    digests = (
        hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for part in images_NCHW.split(AT_ONCE)
        for image in part.cpu().numpy()
    )
    return [seen.setdefault(digest, i) for i, digest in enumerate(digests)]
