"""Nearest neighbours by cosine similarity, exact, a batch at a time on the device of the vectors.

Legend: N images, L others, D dimensions, M neighbours, A and B of a batch, V views, P pixels, CHW an image.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import torch
from torch import Tensor

BATCH = 1000
AT_ONCE = 100  # images as floats in full size
SIDE = 14  # pixels, at which images are compared


def nearest(unit_ND: Tensor, others_LD: Tensor, count: int, *, skip_first: bool) -> tuple[Tensor, Tensor]:
    """Cosine similarities and indices [N, M] of the nearest of the others, nearest first, on the CPU.

    Args:
        unit_ND: unit vectors, float32.
        others_LD: unit vectors on the same device, at least `count`.
        skip_first: the vectors are the others, and none is its own neighbour.
    """
    # All is allocated in advance: small results between a batch's large blocks would fragment the memory (1.8 GB lost
    # for 100,000 images), and a new block is made before the former is let go.
    similarity_NM = torch.empty(len(unit_ND), count)
    index_NM = torch.empty(len(unit_ND), count, dtype=torch.int64)
    block_BL = unit_ND.new_empty(min(BATCH, len(unit_ND)), len(others_LD))
    first = 1 if skip_first else 0
    for start in range(0, len(unit_ND), BATCH):
        part_BD = unit_ND[start : start + BATCH]
        product_BL = torch.mm(part_BD, others_LD.T, out=block_BL[: len(part_BD)])
        if skip_first:  # an image is not its own neighbour, whatever rounding or duplicates do
            rows = torch.arange(len(product_BL), device=product_BL.device)
            product_BL[rows, rows + start] = torch.inf
        found = product_BL.topk(count + first)
        similarity_NM[start : start + BATCH] = found.values[:, first:]
        index_NM[start : start + BATCH] = found.indices[:, first:]
    return similarity_NM, index_NM


def pixels(images_NCHW: Tensor, index_M: Tensor) -> Tensor:
    """Some of the uint8 images in [0, 1], averaged to SIDE x SIDE pixels at most, float32 [M, P], on their device."""
    size = images_NCHW.shape[1] * prod(min(SIDE, side) for side in images_NCHW.shape[2:])
    found_MP = torch.empty(len(index_M), size, device=images_NCHW.device)  # made once and filled, as in `nearest`
    for start in range(0, len(index_M), AT_ONCE):
        chosen = index_M[start : start + AT_ONCE].to(images_NCHW.device)
        found_MP[start : start + AT_ONCE] = pooled(images_NCHW[chosen].float() / 255.0)
    return found_MP


def pooled(images_BCHW: Tensor) -> Tensor:
    """Images averaged to SIDE x SIDE pixels at most, [B, P]."""
    height, width = (min(SIDE, side) for side in images_BCHW.shape[2:])
    return torch.nn.functional.adaptive_avg_pool2d(images_BCHW, (height, width)).flatten(1)


def centred(pixels_MP: Tensor, mean_P: Tensor) -> Tensor:
    """Unit vectors [M, P], in place of the pixels: beside them they would take as much memory twice."""
    pixels_MP -= mean_P
    torch.nn.functional.normalize(pixels_MP, dim=1, out=pixels_MP)
    return pixels_MP


def nearest_to_views(unit_LP: Tensor, views: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Cosine similarities and indices [L, M] of the images of which one view is nearest, on the CPU.

    Args:
        unit_LP: unit vectors of the images, more than `count` of them.
        views: of all images in their order, some at a time, the unit vectors [V, B, P] of each view of them; an image
            is not its own neighbour.
    """
    similarity_LM = unit_LP.new_full((len(unit_LP), count), -torch.inf)
    index_LM = torch.zeros(len(unit_LP), count, dtype=torch.int64, device=unit_LP.device)
    first = 0
    for views_VBP in views:
        index_B = torch.arange(first, first + views_VBP.shape[1], device=unit_LP.device)
        for start in range(0, len(unit_LP), BATCH):
            rows = slice(start, start + BATCH)
            asked_AP = unit_LP[rows]
            closest_AB = asked_AP @ views_VBP[0].T
            for view_BP in views_VBP[1:]:
                torch.maximum(closest_AB, asked_AP @ view_BP.T, out=closest_AB)
            index_A = torch.arange(start, start + len(asked_AP), device=unit_LP.device)
            closest_AB.masked_fill_(index_A[:, None] == index_B, -torch.inf)
            found = torch.cat((similarity_LM[rows], closest_AB), dim=1).topk(count)
            known = torch.cat((index_LM[rows], index_B.expand(len(asked_AP), -1)), dim=1)
            similarity_LM[rows], index_LM[rows] = found.values, known.gather(1, found.indices)
        first += len(index_B)
    return similarity_LM.cpu(), index_LM.cpu()
