"""Nearest neighbours by cosine similarity, exact, a batch at a time on the device of the vectors.

Legend: N images, L others, D dimensions, M neighbours, B of a batch, V views, P pixels, CHW an image.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BATCH = 1000
SIDE = 14  # pixels, at which images are compared


def nearest(unit_ND: Tensor, others_LD: Tensor, count: int, *, skip_first: bool) -> tuple[Tensor, Tensor]:
    """Cosine similarities and indices [N, M] of the nearest of the others, nearest first, on the CPU.

    Args:
        unit_ND: unit vectors, float32.
        others_LD: unit vectors on the same device, at least `count`.
        skip_first: the vectors are the others, and none is its own neighbour.
    """
    # Results are allocated in advance: small ones between a batch's large blocks would fragment the memory (1.8 GB lost
    # for 100,000 images).
    similarity_NM = torch.empty(len(unit_ND), count)
    index_NM = torch.empty(len(unit_ND), count, dtype=torch.int64)
    first = 1 if skip_first else 0
    for start in range(0, len(unit_ND), BATCH):
        product_BL = unit_ND[start : start + BATCH] @ others_LD.T
        if skip_first:  # an image is not its own neighbour, whatever rounding or duplicates do
            rows = torch.arange(len(product_BL), device=product_BL.device)
            product_BL[rows, rows + start] = torch.inf
        found = product_BL.topk(count + first)
        similarity_NM[start : start + BATCH] = found.values[:, first:]
        index_NM[start : start + BATCH] = found.indices[:, first:]
    return similarity_NM, index_NM


def pixels(images_NCHW: Tensor, index_M: NDArray[np.int64]) -> Tensor:
    """Some of the uint8 images, averaged to SIDE x SIDE pixels at most, float32 [M, P], on their device."""
    found_MP = torch.empty(0)
    for start in range(0, len(index_M), BATCH):
        chosen = torch.from_numpy(index_M[start : start + BATCH]).to(images_NCHW.device)
        part_BP = pooled(images_NCHW[chosen].float() / 255.0)
        if start == 0:  # made once and filled, as in `nearest`
            found_MP = part_BP.new_empty(len(index_M), part_BP.shape[1])
        found_MP[start : start + BATCH] = part_BP
    return found_MP


def pooled(images_BCHW: Tensor) -> Tensor:
    """Images averaged to SIDE x SIDE pixels at most, [B, P]."""
    return torch.nn.functional.adaptive_avg_pool2d(images_BCHW, min(SIDE, *images_BCHW.shape[2:])).flatten(1)


def nearest_to_views(unit_LP: Tensor, views_VLP: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosine similarities and indices [L, M] of the images of which one view is nearest, on the CPU.

    Args:
        unit_LP: unit vectors of the images, more than `count` of them.
        views_VLP: unit vectors of each view of them; an image is not its own neighbour.
    """
    similarity_LM = torch.empty(len(unit_LP), count)
    index_LM = torch.empty(len(unit_LP), count, dtype=torch.int64)
    for start in range(0, len(unit_LP), BATCH):
        asked_BP = unit_LP[start : start + BATCH]
        closest_BL = asked_BP @ views_VLP[0].T
        for view_LP in views_VLP[1:]:
            closest_BL = torch.maximum(closest_BL, asked_BP @ view_LP.T)
        rows = torch.arange(len(asked_BP), device=unit_LP.device)
        closest_BL[rows, rows + start] = -torch.inf
        found = closest_BL.topk(count)
        similarity_LM[start : start + BATCH], index_LM[start : start + BATCH] = found.values, found.indices
    return similarity_LM, index_LM
