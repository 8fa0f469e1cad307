"""k-means: scikit-learn's on a CPU; on a GPU tensor operations, where its 45 calls a grouping would take longer than
all of MNIST's training.

Legend: L points, D dimensions, C clusters, T trials.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

ITERATIONS = 100
LOOK = 5  # iterations between two looks at whether anything still changes: each waits for the device


def kmeans(points_LD: Tensor, clusters: int, seed: int) -> NDArray[np.int64]:
    """The cluster of each point, int64 [L] in [0, clusters); some may be empty, where points coincide.

    Args:
        points_LD: float32, on any device; at least as many as clusters.
    """
    if points_LD.device.type != "cpu":
        return lloyd(points_LD, clusters, seed).cpu().numpy()
    with warnings.catch_warnings():  # fewer distinct clusters than requested, if points are duplicates
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(clusters, n_init=1, random_state=seed).fit_predict(points_LD.numpy())
    return np.asarray(found, dtype=np.int64)


def lloyd(points_LD: Tensor, clusters: int, seed: int) -> Tensor:
    """Lloyd's iterations from a greedy k-means++ start (Arthur, Vassilvitskii 2007), int64 [L].

    On a GPU it gives the same at every call: sums are products with one-hot matrices, not atomic additions.
    """
    center_CD = _start(points_LD, clusters, seed)
    before_L = None
    for iteration in range(ITERATIONS):
        found_L = _distances(center_CD, points_LD).argmin(0)
        if iteration % LOOK == 0:
            if before_L is not None and torch.equal(found_L, before_L):
                break
            before_L = found_L
        member_CL = torch.nn.functional.one_hot(found_L, clusters).T.to(points_LD.dtype)
        size_C1 = member_CL.sum(1, keepdim=True)
        center_CD = torch.where(size_C1 > 0, member_CL @ points_LD / size_C1.clamp_min(1.0), center_CD)
    return found_L


def _start(points_LD: Tensor, clusters: int, seed: int) -> Tensor:
    """Centres [C, D]: each of a few trials, drawn in proportion to squared distances, that lowers their sum most."""
    random = torch.Generator(points_LD.device).manual_seed(seed)
    trials = 2 + int(math.log(clusters))
    nearest_L = torch.ones(len(points_LD), device=points_LD.device)
    centers = []
    for index in range(clusters):
        # The largest of logarithms with Gumbel noise is a draw in proportion (Yellott 1977), without a running sum,
        # which has no order of its own on a GPU.
        noise_TL = torch.rand(trials if index else 1, len(points_LD), generator=random, device=points_LD.device)
        score_TL = nearest_L.clamp_min(1e-30).log() - (-noise_TL.clamp_min(1e-30).log()).log()
        tried_TD = points_LD[score_TL.argmax(1)]
        distance_TL = _distances(tried_TD, points_LD)
        if index:
            distance_TL = torch.minimum(distance_TL, nearest_L)
        best = distance_TL.sum(1).argmin(0, keepdim=True)
        nearest_L = distance_TL[best][0]
        centers.append(tried_TD[best][0])
    return torch.stack(centers)


def _distances(center_CD: Tensor, points_LD: Tensor) -> Tensor:
    """Squared distances [C, L], not below 0."""
    squares_C1, squares_L = center_CD.square().sum(1, keepdim=True), points_LD.square().sum(1)
    return (squares_C1 + squares_L - 2.0 * center_CD @ points_LD.T).clamp_min(0.0)
