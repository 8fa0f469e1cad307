"""Pseudo-labels: groups of real images, found by clustering, with which Q's codes escape a bad grouping.

Learned a batch at a time, codes settle early: two classes share one code, a third class has two, and neither the IIC
loss nor the prior undoes it. Q's embedding separates classes better than its codes do. So a sample of images, the
landmarks, becomes a graph of nearest neighbours, which is cut into groups at several resolutions (spectral.py); the
other images join the groups of their nearest landmarks. One cut is a gamble: the resolution and the sample decide
whether a rare class is lost. So several samples are cut, and of all groupings whose normalised cut (Shi, Malik 2000)
is near its sample's lowest, the one that agrees most with the others is chosen; the lowest may be an outlier. Images
that the groupings dispute are decided by another view of them, the pixels, where these are clear, and else get no
label; so are parts of a group that hardly touch the rest of it (pixel_votes.py, docs/prior.md).

Legend: N images, L landmarks, D embedding, K codes, M neighbours, G groupings, P pairs of them, CHW an image.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy
from torch import Tensor

from fastgan.config.schema import GroupingConfig
from fastgan.seeding import shuffled
from fastgan.training import pixel_votes, spectral
from fastgan.training.neighbours import nearest

Groups = NDArray[np.int64]


def find_groups(
    embed_ND: Tensor,
    codes_N: Tensor,
    classes: int,
    config: GroupingConfig,
    seed: int,
    images_NCHW: Tensor | None = None,
) -> Tensor:
    """The group of each image, int64 [N] in [0, K), or -1 for none, on the CPU, matched to the images' current codes.

    Args:
        embed_ND: Q's embeddings, float32 [N, D], on any device.
        codes_N: Q's codes, int64 [N]; groups are numbered so that most images keep their code.
        seed: for the choice of landmarks and k-means.
        images_NCHW: uint8, on any device, to ask about images whose group is doubtful; left out, nothing is asked.
    """
    unit_ND = torch.nn.functional.normalize(embed_ND, dim=1)
    found: list[Groups] = []
    compared: list[Groups] = []  # the groups of the first sample's landmarks
    purposes = ["landmarks", *(f"landmarks-{sample}" for sample in range(1, config.samples))]
    samples = [shuffled(len(unit_ND), seed, purpose)[: config.landmarks] for purpose in purposes]
    landmarks = [unit_ND[chosen_L.to(unit_ND.device)] for chosen_L in samples]
    graphs = [spectral.neighbour_graph(landmarks_LD, config.neighbours) for landmarks_LD in landmarks]
    for sample, (landmarks_LD, graph_LL) in enumerate(zip(landmarks, graphs, strict=True)):
        for group_L, group_N in _cut(unit_ND, landmarks_LD, graph_LL, classes, config, seed + sample):
            found.append(group_N)
            compared.append(group_L if sample == 0 else group_N[samples[0].numpy()])
    agreement = _shared_information(compared, classes)
    group_N = found[int(agreement.sum(1).argmax())]
    if config.stability > 0:
        group_N = _stable(found, group_N, classes, config.stability)
    if config.pixel_vote > 0 and images_NCHW is not None:
        group_N = pixel_votes.decide_disputed(group_N, images_NCHW, config.pixel_vote, seed)
        group_N = pixel_votes.move_islands(
            group_N, images_NCHW, unit_ND, samples[0], graphs[0], config.neighbours, classes
        )
    names_K = _matching(group_N[group_N >= 0], codes_N.cpu().numpy()[group_N >= 0], classes)
    return torch.from_numpy(np.where(group_N >= 0, names_K[group_N], -1))


def _cut(
    unit_ND: Tensor,
    landmarks_LD: Tensor,
    graph_LL: sparse.csr_matrix,
    classes: int,
    config: GroupingConfig,
    seed: int,
) -> list[tuple[Groups, Groups]]:
    """For each good resolution the groups of one sample of landmarks [L], and those of all images [N]."""
    neighbours = min(config.neighbours, len(landmarks_LD) - 1)
    groups = spectral.groupings(graph_LL, classes, config.linkage, seed, unit_ND.device)
    similarity_NM, index_NM = nearest(unit_ND, landmarks_LD, neighbours, skip_first=False)
    weight_NM = torch.exp(similarity_NM / 0.1)
    found = []
    for group_L in groups:
        votes_NK = torch.zeros(len(unit_ND), classes)
        votes_NK.scatter_add_(1, torch.from_numpy(group_L)[index_NM], weight_NM)
        found.append((group_L, votes_NK.argmax(1).numpy()))
    return found


def _stable(found: list[Groups], reference_N: Groups, classes: int, stability: float) -> Groups:
    """The group [N] that most groupings give an image; -1 where that share is below `stability` of its group's median.

    The share is relative, since where some groupings lose a rare class, all of its images are disputed.
    """
    votes_NK = np.zeros((len(reference_N), classes), dtype=np.float32)
    for group_N in found:
        votes_NK[np.arange(len(reference_N)), _matching(group_N, reference_N, classes)[group_N]] += 1.0
    group_N, share_N = votes_NK.argmax(1), votes_NK.max(1)
    median_K = np.array([np.median(share_N[group_N == k]) if (group_N == k).any() else 0.0 for k in range(classes)])
    return np.where(share_N >= stability * median_K[group_N], group_N, -1).astype(np.int64)


def _matching(group_N: Groups, others_N: Groups, classes: int) -> Groups:
    """For each group [K] the other grouping's, one to one, so that most images are in matched groups."""
    _, others_K = linear_sum_assignment(-_shared(group_N, others_N, classes))
    return np.asarray(others_K, dtype=np.int64)


def _shared(ours_N: Groups, theirs_N: Groups, classes: int) -> NDArray[np.int64]:
    """How many images each pair of groups shares [K, K]."""
    return np.bincount(ours_N * classes + theirs_N, minlength=classes**2).reshape(classes, classes)


def _shared_information(groups: list[Groups], classes: int) -> NDArray[np.float64]:
    """Normalised mutual information, arithmetic mean, of each pair of G groupings [G, G]; of one with itself it is 0.

    All at once: sklearn's checks would take seconds for 1,000 pairs.
    """
    one, other = np.triu_indices(len(groups))
    joint_PKK = np.stack([_shared(groups[i], groups[j], classes) for i, j in zip(one, other, strict=True)])
    entropy_GG = np.zeros((len(groups), len(groups)))
    entropy_GG[one, other] = entropy_GG[other, one] = entropy(joint_PKK.reshape(len(one), -1), axis=1)
    own_G = np.diag(entropy_GG)
    both_GG = own_G[:, None] + own_G
    shared_GG = 2.0 * (both_GG - entropy_GG) / np.maximum(both_GG, 1e-12)
    np.fill_diagonal(shared_GG, 0.0)
    return shared_GG
