"""Pseudo-labels: groups of real images, found by clustering, with which Q's codes escape a bad grouping.

Learned a batch at a time, codes settle early: two classes share one code, a third class has two, and neither the IIC
loss nor the prior undoes it. Q's embedding separates classes better than its codes do. So a sample of images, the
landmarks, becomes a graph of nearest neighbours, which is cut into groups at several resolutions (spectral.py); the
other images join the groups of their nearest landmarks. One cut is a gamble: the resolution and the sample decide
whether a rare class is lost. So several samples are cut, and of all groupings whose normalised cut (Shi, Malik 2000)
is near the lowest, the one that agrees most with the others is chosen; the lowest may be an outlier. With the
images at hand, pixels have a say in what is merged and which cut is low (spectral.py, pixel_graphs.py). Images
that the groupings dispute are decided by another view of them, the pixels, where these are clear, and else get no
label; so are parts of a group that hardly touch the rest of it (pixel_votes.py, docs/prior.md).

Legend: N images, L landmarks, D embedding, K codes, M neighbours, G groupings, P pairs of them, CHW an image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy
from torch import Tensor

from fastgan.config.schema import GroupingConfig
from fastgan.data.neighbours import nearest
from fastgan.seeding import shuffled
from fastgan.training import pixel_votes, spectral
from fastgan.training.pixel_graphs import PixelGraphs

Groups = NDArray[np.int64]


def find_groups(
    embed_ND: Tensor,
    codes_N: Tensor,
    classes: int,
    config: GroupingConfig,
    seed: int,
    images_NCHW: Tensor | None = None,
    pixel_graphs: PixelGraphs | None = None,
) -> Tensor:
    """The group of each image, int64 [N] in [0, K), or -1 for none, on the CPU, matched to the images' current codes.

    Args:
        embed_ND: Q's embeddings, float32 [N, D], on any device.
        codes_N: Q's codes, int64 [N]; groups are numbered so that most images keep their code.
        seed: for the choice of landmarks and k-means.
        images_NCHW: uint8, on any device, to ask about images whose group is doubtful; left out, nothing is asked.
        pixel_graphs: of these images, to compare the landmarks by pixels as well; left out, only Q's embedding counts.
    """
    unit_ND = torch.nn.functional.normalize(embed_ND, dim=1)
    purposes = ["landmarks", *(f"landmarks-{sample}" for sample in range(1, config.samples))]
    samples = [shuffled(len(unit_ND), seed, purpose)[: config.landmarks] for purpose in purposes]
    graphs = [spectral.neighbour_graph(unit_ND[chosen_L.to(unit_ND.device)], config.neighbours) for chosen_L in samples]
    alike: list[sparse.csr_matrix | None] = [None] * len(samples)
    if pixel_graphs is not None and images_NCHW is not None:
        named = zip(purposes, samples, strict=True)
        alike = [pixel_graphs.of(name, images_NCHW, chosen_L, config.neighbours) for name, chosen_L in named]
    cut = [
        spectral.groupings(graphs[i], classes, config.linkage, seed + i, unit_ND.device, pixels_LL=alike[i])
        for i in range(len(samples))
    ]
    found, compared = [], []  # groups of all images, and of the first sample's landmarks
    for sample, near in enumerate(_near_lowest(cut, by_both=alike[0] is not None)):
        for group_L, group_N in zip(near, _joined(unit_ND, samples[sample], near, classes, config), strict=True):
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


def _near_lowest(cut: list[list[tuple[Groups, float]]], *, by_both: bool) -> list[list[Groups]]:
    """Of each sample's groupings, those whose normalised cut is near the lowest.

    Args:
        cut: groups and their cut, of each sample, at each resolution.
        by_both: the cut is that of both graphs, which tells good from bad over all samples; else it does in each.
    """
    lowest = [min(each for _, each in of_sample) for of_sample in cut]
    most = [spectral.SLACK_OF_BOTH * min(lowest) if by_both else spectral.SLACK * own for own in lowest]
    return [[group_L for group_L, each in of_sample if each <= most[i]] for i, of_sample in enumerate(cut)]


def _joined(
    unit_ND: Tensor, chosen_L: Tensor, groups: list[Groups], classes: int, config: GroupingConfig
) -> Iterator[Groups]:
    """For each grouping of the landmarks [L] that of all images [N], who join those of their nearest landmarks."""
    if not groups:
        return
    landmarks_LD = unit_ND[chosen_L.to(unit_ND.device)]
    neighbours = min(config.neighbours, len(landmarks_LD) - 1)
    similarity_NM, index_NM = nearest(unit_ND, landmarks_LD, neighbours, skip_first=False)
    weight_NM = torch.exp(similarity_NM / 0.1)
    for group_L in groups:
        votes_NK = torch.zeros(len(unit_ND), classes)
        votes_NK.scatter_add_(1, torch.from_numpy(group_L)[index_NM], weight_NM)
        yield votes_NK.argmax(1).numpy()


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
