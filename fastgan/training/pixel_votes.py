"""What pixels say of groups that were found in an embedding.

An embedding may tear a kind of images off from its class: crossed sevens, say, lie nearer to the twos than to other
sevens, but look like sevens. Two sorts of images are asked for their nearest neighbours by pixels: those that the
groupings dispute, one by one, and islands, parts of a group that hardly touch the rest of it, as a whole.

Legend: N images, L landmarks, K groups, M images that are asked, V voters, P pixels, D embedding, CHW an image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from fastgan.data.neighbours import centred, nearest, pixels
from fastgan.seeding import shuffled
from fastgan.training import spectral

VOTERS = 10  # nearest labelled images, by pixels
REFERENCE = 30_000  # labelled images among which they are sought
TORN = 0.15  # share of its affinity to the rest of its group below which a part is an island
SMALLEST = 20  # landmarks of an island
ASKED = 100  # landmarks of an island that are asked at most, for all of it
MAJORITY = 0.5  # share of the votes that moves an island, if its own group has at most a third of that
AT_ONCE = 200  # disputed images that are asked; all their similarities are held
Groups = NDArray[np.int64]


def decide_disputed(group_N: Groups, images_NCHW: Tensor, share: float, seed: int) -> Groups:
    """The groups [N], where -1 is replaced if enough of an image's nearest labelled images share a group."""
    disputed_M, known_N = np.flatnonzero(group_N < 0), np.flatnonzero(group_N >= 0)
    if len(disputed_M) == 0 or len(known_N) == 0:
        return group_N
    known_N = np.sort(known_N[shuffled(len(known_N), seed, "pixels")[:REFERENCE].numpy()])
    known_NP = pixels(images_NCHW, torch.from_numpy(known_N))
    mean_P, voted = known_NP.mean(0), []
    known_NP = centred(known_NP, mean_P)
    for start in range(0, len(disputed_M), AT_ONCE):  # there may be many more of them than of those that are known
        asked_MP = pixels(images_NCHW, torch.from_numpy(disputed_M[start : start + AT_ONCE]))
        voted.append(_votes(centred(asked_MP, mean_P), known_NP, group_N[known_N]))
    voted_MV = torch.cat(voted)
    winner_M = voted_MV.mode(1).values
    agree_M = (voted_MV == winner_M[:, None]).double().mean(1)
    decided_N = group_N.copy()
    decided_N[disputed_M] = np.where(agree_M.numpy() >= share, winner_M.numpy(), -1)
    return decided_N


def move_islands(
    group_N: Groups,
    images_NCHW: Tensor,
    unit_ND: Tensor,
    chosen_L: Tensor,
    graph_LL: sparse.csr_matrix,
    neighbours: int,
    classes: int,
) -> Groups:
    """The groups [N], where islands whose pixels clearly say so are in another group.

    Args:
        group_N: groups, or -1, which stay.
        unit_ND: unit embeddings, on any device.
        chosen_L: the images among which islands are sought, int64 on the CPU; other images go with their nearest.
        graph_LL: the affinities of these images.
        neighbours: so many nearest landmarks decide where another image goes.
    """
    landmark_L = chosen_L.numpy()
    before_L = group_N[landmark_L]
    group_L = before_L.copy()
    pixels_LP = pixels(images_NCHW, torch.from_numpy(landmark_L))
    pixels_LP = centred(pixels_LP, pixels_LP.mean(0))
    for island in _islands(graph_LL, before_L, classes):
        if (group_L[island] != before_L[island]).any():
            continue  # a part of it, or what it is part of, has gone
        outside = group_L >= 0
        outside[island] = False
        voted_MV = _votes_of_some(pixels_LP[island[:ASKED]], pixels_LP, outside, group_L)
        share_K = np.bincount(voted_MV.ravel(), minlength=classes) / voted_MV.numel()
        best = int(share_K.argmax())
        if share_K[best] >= MAJORITY and 3 * share_K[before_L[island[0]]] <= share_K[best]:
            group_L[island] = best
    return _followed(group_N, unit_ND, landmark_L, before_L, group_L, min(neighbours, len(landmark_L) - 1))


def _islands(graph_LL: sparse.csr_matrix, group_L: Groups, classes: int) -> Iterator[NDArray[np.int64]]:
    """Landmarks of one group each that hardly touch the rest of it, up to half of it, wholes before parts."""
    for group in range(classes):
        whole = np.flatnonzero(group_L == group)
        left = [whole]
        while left:
            members = left.pop()
            if 0 < len(members) <= len(whole) / 2:
                yield members
            if len(members) < 2 * SMALLEST:
                continue
            side, share = spectral.two_way_cut(graph_LL[members][:, members])
            if share <= TORN:
                left += [part for part in (members[side], members[~side]) if len(part) >= SMALLEST]


def _votes(asked_MP: Tensor, known_LP: Tensor, group_L: Groups) -> Tensor:
    """The groups [L] of the known images that are nearest by centred pixels, int64 [M, V]."""
    _, nearest_MV = nearest(asked_MP, known_LP, min(VOTERS, len(known_LP)), skip_first=False)
    return torch.from_numpy(group_L)[nearest_MV]


def _votes_of_some(asked_MP: Tensor, known_LP: Tensor, which_L: NDArray[np.bool_], group_L: Groups) -> Tensor:
    """As `_votes`, of some of the known images; of which no copy is made, as islands would each leave a hole behind."""
    similarity_ML = asked_MP @ known_LP.T
    similarity_ML.masked_fill_(torch.from_numpy(~which_L).to(similarity_ML.device), -torch.inf)
    nearest_MV = similarity_ML.topk(min(VOTERS, int(which_L.sum()))).indices.cpu()
    return torch.from_numpy(group_L)[nearest_MV]


def _followed(
    group_N: Groups, unit_ND: Tensor, landmark_L: Groups, before_L: Groups, after_L: Groups, neighbours: int
) -> Groups:
    """The groups of all images, where those in a group that lost an island go where most of their landmarks went."""
    found_N, landmarks_LD = group_N.copy(), unit_ND[torch.from_numpy(landmark_L).to(unit_ND.device)]
    for group in np.unique(before_L[before_L != after_L]):
        members = np.flatnonzero(group_N == group)
        chosen = torch.from_numpy(members).to(unit_ND.device)
        _, index_MM = nearest(unit_ND[chosen], landmarks_LD, neighbours, skip_first=False)
        theirs_MM = torch.from_numpy(np.where(before_L == group, after_L, group))[index_MM]
        found_N[members] = theirs_MM.mode(1).values.numpy()
    found_N[landmark_L] = np.where(before_L != after_L, after_L, found_N[landmark_L])
    return found_N
