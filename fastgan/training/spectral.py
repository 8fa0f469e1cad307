"""Cuts a graph of nearest neighbours into groups, at fifteen resolutions and in one or two ways.

The graph is cut into more parts than there are classes (normalised spectral clustering, Ng, Jordan, Weiss 2001, with
locally scaled affinities, Zelnik-Manor and Perona 2004), and parts are merged until K are left, those first that have
the most affinity for their sizes. Unlike k-means or a cut into K at once, this finds classes of unequal sizes and
shapes. With average linkage (affinity an image pair) a rare class is merged into its neighbour too soon: between two
halves of one class, affinity runs along a boundary only, so it grows more slowly than the product of their sizes. A
smaller power of that product (`linkage`) corrects for this.

An embedding may also tear a style off from its class (crossed sevens from sevens), and then a rare class next to a
frequent one is merged before the two styles are. Pixels see such a pair as close, and confuse other classes than the
embedding does. So with a second graph, of the same images by pixels, parts are merged a second time by the affinity in
both, for the share of it that the smaller part has; and groupings are compared by the cut of both graphs.

Legend: L landmarks, E eigenvectors, P parts, M neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor

from fastgan.data.neighbours import nearest
from fastgan.training.kmeans import kmeans

SCALE = 7  # this neighbour's distance is the scale of an image's affinities
DIRECTIONS = (1.0, 1.5, 2.0, 3.0, 4.5)  # eigenvectors per code; each is tried with all of PARTS
PARTS = (4, 6, 12)  # parts per code
SLACK = 1.5  # times the lowest normalised cut counts as near it
SLACK_OF_BOTH = 1.05  # of two graphs, whose cut tells more: on MNIST's split 18 every grouping within 1.1 was right
PIXELS = 3.0  # weight of the pixels' graph, relative to the embedding's, where parts are merged by both
FEW = 11  # times the eigenvectors: landmarks up to which a dense solver computes all of them


def neighbour_graph(unit_LD: Tensor, neighbours: int) -> sparse.csr_matrix:
    """The affinities of unit vectors, on any device, to their nearest neighbours; of fewer where there are fewer."""
    return affinities(*nearest(unit_LD, unit_LD, min(neighbours, len(unit_LD) - 1), skip_first=True))


def affinities(similarity_LM: Tensor, index_LM: Tensor) -> sparse.csr_matrix:
    """exp(-d^2 / (scale_i scale_j)) between neighbours, symmetric; d is the Euclidean distance of unit vectors."""
    squared_LM = (2.0 - 2.0 * similarity_LM).clamp_min(0.0)
    count, neighbours = squared_LM.shape
    scale_L = squared_LM[:, min(SCALE, neighbours) - 1].sqrt().clamp_min(1e-6)
    affinity_LM = torch.exp(-squared_LM / (scale_L[:, None] * scale_L[index_LM]))
    rows = np.repeat(np.arange(count), neighbours)
    graph = sparse.csr_matrix((affinity_LM.double().numpy().ravel(), (rows, index_LM.numpy().ravel())), (count, count))
    return (graph + graph.T) / 2


def groupings(
    graph_LL: sparse.csr_matrix,
    classes: int,
    linkage: float,
    seed: int,
    device: torch.device | None = None,
    *,
    pixels_LL: sparse.csr_matrix | None = None,
) -> list[tuple[NDArray[np.int64], float]]:
    """Groups of the landmarks, int64 [L] in [0, classes), by each resolution, and their normalised cut.

    Args:
        graph_LL: symmetric affinities.
        linkage: see GroupingConfig.
        device: where k-means runs; the CPU without.
        pixels_LL: affinities of the same landmarks by pixels, to merge by both as well; the cut is that of both.
    """
    both_LL = None if pixels_LL is None else _scaled(graph_LL) + _scaled(pixels_LL)
    count = graph_LL.shape[0]
    flow_LE = _eigenvectors(graph_LL, min(round(max(DIRECTIONS) * classes), count - 1), seed)
    found = []
    for directions in DIRECTIONS:
        unit_LE = torch.from_numpy(flow_LE[:, : round(directions * classes)].astype(np.float32))
        unit_LE = torch.nn.functional.normalize(unit_LE, dim=1).to(device)
        for parts in PARTS:
            part_L = np.unique(kmeans(unit_LE, min(parts * classes, count), seed), return_inverse=True)[1]
            total_PP, size_P = _between(graph_LL, part_L), np.bincount(part_L).astype(float)
            found.append(_merge(total_PP, size_P, classes, (linkage, linkage))[part_L])
            if pixels_LL is not None:
                pixels_PP = _between(pixels_LL, part_L)
                total_PP = total_PP / max(total_PP.sum(), 1e-12) + PIXELS * pixels_PP / max(pixels_PP.sum(), 1e-12)
                found.append(_merge(total_PP, size_P, classes, (1.0, 0.5))[part_L])
    return [(group_L, normalised_cut(graph_LL if both_LL is None else both_LL, group_L)) for group_L in found]


def _scaled(graph_LL: sparse.csr_matrix) -> sparse.csr_matrix:
    """The graph with affinities whose sum is 1."""
    return graph_LL / max(graph_LL.sum(), 1e-12)


def normalised_cut(graph_LL: sparse.csr_matrix, group_L: NDArray[Any]) -> float:
    """The sum over groups of the share of their affinity to other groups; from 0 (best) to the number of groups."""
    total_PP = _between(graph_LL, group_L)
    whole_P = total_PP.sum(1)
    return float(((whole_P - np.diag(total_PP)) / np.maximum(whole_P, 1e-12)).sum())


def two_way_cut(graph_LL: sparse.csr_matrix) -> tuple[NDArray[np.bool_], float]:
    """The cut in two with the lowest normalised cut along the second eigenvector (Shi, Malik 2000, section 3).

    Returns:
        Which images are on the side with less affinity (of fewer images, where nothing joins the sides), bool [L], and
        the share of that affinity to the other side.
    """
    count, component_L = connected_components(graph_LL, directed=False)
    if count > 1:  # eigenvalues that coincide, of which ARPACK finds one
        side_L = component_L == np.bincount(component_L).argmax()
        return side_L if 2 * side_L.sum() < len(side_L) else ~side_L, 0.0
    flow_LE = _eigenvectors(graph_LL, 2, seed=0)
    if flow_LE.shape[1] < 2:  # it has not converged
        return np.zeros(len(flow_LE), dtype=bool), 1.0
    degree_L = np.asarray(graph_LL.sum(1)).ravel()
    order_L = np.argsort(flow_LE[:, 1] / np.sqrt(np.maximum(degree_L, 1e-9)), kind="stable")
    edges = graph_LL[order_L][:, order_L].tocoo()
    # Each edge counts for all cuts between its ends: from the lower on, and no longer from the upper on.
    change_L = np.bincount(np.minimum(edges.row, edges.col), edges.data / 2, len(order_L))
    change_L -= np.bincount(np.maximum(edges.row, edges.col), edges.data / 2, len(order_L))
    cut_L, below_L = np.cumsum(change_L)[:-1], np.cumsum(degree_L[order_L])[:-1]
    above_L = degree_L.sum() - below_L
    best = int((cut_L / np.maximum(below_L, 1e-9) + cut_L / np.maximum(above_L, 1e-9)).argmin())
    side_L = np.zeros(len(order_L), dtype=bool)
    side_L[order_L[: best + 1] if below_L[best] <= above_L[best] else order_L[best + 1 :]] = True
    return side_L, float(cut_L[best] / max(min(below_L[best], above_L[best]), 1e-9))


def _eigenvectors(graph_LL: sparse.csr_matrix, count: int, seed: int) -> NDArray[np.float64]:
    """Eigenvectors [L, E] of the normalised graph, for its largest eigenvalues, in descending order."""
    # Images without neighbours get a small degree, to avoid division by zero.
    root_L = np.sqrt(np.maximum(np.asarray(graph_LL.sum(1)).ravel(), 1e-9))
    normalised_LL = sparse.diags(1.0 / root_L) @ graph_LL @ sparse.diags(1.0 / root_L)
    if graph_LL.shape[0] <= FEW * count:
        values_E, vectors_LE = np.linalg.eigh(normalised_LL.toarray())
    else:
        start_L = np.random.default_rng(seed).random(graph_LL.shape[0])
        try:
            values_E, vectors_LE = eigsh(normalised_LL, k=count, which="LA", v0=start_L, tol=1e-3)
        except ArpackNoConvergence as error:  # those that have converged are enough
            values_E, vectors_LE = error.eigenvalues, error.eigenvectors
    found: NDArray[np.float64] = vectors_LE[:, np.argsort(-values_E)[:count]]
    return found


def _between(graph_LL: sparse.csr_matrix, part_L: NDArray[Any]) -> NDArray[np.float64]:
    """The affinity between parts [P, P], each image pair counted twice."""
    count = int(part_L.max()) + 1
    member_PL = sparse.csr_matrix((np.ones(len(part_L)), (part_L, np.arange(len(part_L)))), (count, len(part_L)))
    total_PP: NDArray[np.float64] = (member_PL @ graph_LL @ member_PL.T).toarray()
    return total_PP


def _merge(
    total_PP: NDArray[np.float64], size_P: NDArray[np.float64], classes: int, powers: tuple[float, float]
) -> NDArray[np.int64]:
    """The group of each part [P], by agglomeration until `classes` groups are left.

    Two groups' affinity is divided by the size of the smaller one to the first power, and of the larger one to the
    second: 1 and 1 is average linkage.

    Args:
        total_PP: the affinity between parts.
        size_P: how many landmarks each has.
    """
    total_PP, size_P = total_PP.copy(), size_P.copy()
    owner_P = np.arange(len(size_P))  # the group of each part, named after one of its parts
    left = list(range(len(size_P)))
    close_PP = total_PP / _divisor(size_P[:, None], size_P, powers)
    np.fill_diagonal(close_PP, -1.0)
    while len(left) > classes:
        a, b = (int(i) for i in np.unravel_index(close_PP.argmax(), close_PP.shape))
        total_PP[a] += total_PP[b]
        total_PP[:, a] += total_PP[:, b]
        size_P[a] += size_P[b]
        owner_P[owner_P == b] = a
        left.remove(b)
        # Only the affinities of the merged group have changed: with all of them anew, 100 classes took minutes.
        scale_P = _divisor(size_P[a], size_P, powers)
        close_PP[a, left], close_PP[left, a] = (total_PP[a] / scale_P)[left], (total_PP[:, a] / scale_P)[left]
        close_PP[a, a] = close_PP[b] = close_PP[:, b] = -1.0
    return np.searchsorted(left, owner_P).astype(np.int64)


def _divisor(one: Any, others_P: NDArray[np.float64], powers: tuple[float, float]) -> NDArray[np.float64]:
    divisor: NDArray[np.float64] = np.minimum(one, others_P) ** powers[0] * np.maximum(one, others_P) ** powers[1]
    return divisor
