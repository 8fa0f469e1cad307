"""Pseudo-labels: groups of real images, found by clustering, with which Q's codes escape a bad grouping.

Learned a batch at a time, codes settle early: two classes share one code, a third class has two, and neither the IIC
loss nor the prior undoes it. Q's embedding separates classes better than its codes do. So a sample of images, the
landmarks, becomes a graph of nearest neighbours, which is cut into groups at several resolutions (spectral.py); the
other images join the groups of their nearest landmarks. One cut is a gamble: the resolution and the sample decide
whether a rare class is lost. So several samples are cut, and of all groupings whose normalised cut (Shi, Malik 2000)
is near its sample's lowest, the one that agrees most with the others is chosen; the lowest may be an outlier. Images
that the groupings dispute are decided by another view of them, the pixels, where these are clear, and else get no label
(docs/prior.md): what an embedding has torn off from its class, such as crossed sevens, may still look like it.

Legend: N images, L landmarks, D embedding, K codes, M neighbours, P pixels, CHW an image.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy
from torch import Tensor

from fastgan.config.schema import GroupingConfig
from fastgan.seeding import shuffled
from fastgan.training import spectral

BATCH = 1000
SIDE = 14  # pixels, at which images are compared
VOTERS = 10  # nearest labelled images, by pixels
REFERENCE = 30_000  # labelled images among which they are sought
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
        images_NCHW: uint8, on any device, to decide disputed images by; left out, these have no group.
    """
    unit_ND = torch.nn.functional.normalize(embed_ND, dim=1)
    found: list[Groups] = []
    compared: list[Groups] = []  # the groups of the first sample's landmarks
    purposes = ["landmarks", *(f"landmarks-{sample}" for sample in range(1, config.samples))]
    samples = [shuffled(len(unit_ND), seed, purpose)[: config.landmarks] for purpose in purposes]
    for sample, chosen_L in enumerate(samples):
        for group_L, group_N in _cut(unit_ND, chosen_L.to(unit_ND.device), classes, config, seed + sample):
            found.append(group_N)
            compared.append(group_L if sample == 0 else group_N[samples[0].numpy()])
    agreement = [sum(_shared_information(ours, theirs, classes) for theirs in compared) for ours in compared]
    group_N = found[int(np.argmax(agreement))]
    if config.stability > 0:
        group_N = _stable(found, group_N, classes, config.stability)
    if config.pixel_vote > 0 and images_NCHW is not None:
        group_N = _decided_by_pixels(group_N, images_NCHW, config.pixel_vote, seed)
    names_K = _matching(group_N[group_N >= 0], codes_N.cpu().numpy()[group_N >= 0], classes)
    return torch.from_numpy(np.where(group_N >= 0, names_K[group_N], -1))


def _cut(
    unit_ND: Tensor, chosen_L: Tensor, classes: int, config: GroupingConfig, seed: int
) -> list[tuple[Groups, Groups]]:
    """For each good resolution the groups of one sample of landmarks [L], and those of all images [N]."""
    landmarks_LD = unit_ND[chosen_L]
    neighbours = min(config.neighbours, len(landmarks_LD) - 1)
    graph_LL = spectral.affinities(*_nearest(landmarks_LD, landmarks_LD, neighbours, skip_first=True))
    groups = spectral.groupings(graph_LL, classes, config.linkage, seed)
    similarity_NM, index_NM = _nearest(unit_ND, landmarks_LD, neighbours, skip_first=False)
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


def _decided_by_pixels(group_N: Groups, images_NCHW: Tensor, share: float, seed: int) -> Groups:
    """The groups [N], where -1 is replaced if enough of an image's nearest labelled images share a group."""
    disputed_N, known_N = np.flatnonzero(group_N < 0), np.flatnonzero(group_N >= 0)
    if len(disputed_N) == 0 or len(known_N) == 0:
        return group_N
    known_N = np.sort(known_N[shuffled(len(known_N), seed, "pixels")[:REFERENCE].numpy()])
    disputed_MP, known_MP = _pixels(images_NCHW, disputed_N), _pixels(images_NCHW, known_N)
    mean_P = known_MP.mean(0)
    disputed_MP, known_MP = (torch.nn.functional.normalize(x - mean_P, dim=1) for x in (disputed_MP, known_MP))
    _, nearest_MV = _nearest(disputed_MP, known_MP, min(VOTERS, len(known_N)), skip_first=False)
    voted_MV = torch.from_numpy(group_N[known_N])[nearest_MV]
    winner_M = voted_MV.mode(1).values
    agree_M = (voted_MV == winner_M[:, None]).double().mean(1)
    decided_N = group_N.copy()
    decided_N[disputed_N] = np.where(agree_M.numpy() >= share, winner_M.numpy(), -1)
    return decided_N


def _pixels(images_NCHW: Tensor, index_M: Groups) -> Tensor:
    """Some of the images, averaged to SIDE x SIDE pixels, float32 [M, P], on their device."""
    parts = []
    for chosen in torch.from_numpy(index_M).split(BATCH):
        images = images_NCHW[chosen.to(images_NCHW.device)].float() / 255.0
        parts.append(torch.nn.functional.adaptive_avg_pool2d(images, min(SIDE, *images.shape[2:])).flatten(1))
    return torch.cat(parts)


def _matching(group_N: Groups, others_N: Groups, classes: int) -> Groups:
    """For each group [K] the other grouping's, one to one, so that most images are in matched groups."""
    _, others_K = linear_sum_assignment(-_shared(group_N, others_N, classes))
    return np.asarray(others_K, dtype=np.int64)


def _shared(ours_N: Groups, theirs_N: Groups, classes: int) -> NDArray[np.int64]:
    """How many images each pair of groups shares [K, K]."""
    return np.bincount(ours_N * classes + theirs_N, minlength=classes**2).reshape(classes, classes)


def _shared_information(ours_N: Groups, theirs_N: Groups, classes: int) -> float:
    """Normalised mutual information, arithmetic mean; sklearn's checks would take seconds for 2,000 pairs."""
    joint_KK = _shared(ours_N, theirs_N, classes)
    ours, theirs, both = (float(entropy(counts)) for counts in (joint_KK.sum(1), joint_KK.sum(0), joint_KK.ravel()))
    return 2.0 * (ours + theirs - both) / max(ours + theirs, 1e-12)


def _nearest(unit_ND: Tensor, others_LD: Tensor, count: int, *, skip_first: bool) -> tuple[Tensor, Tensor]:
    """Cosine similarities and indices [N, M] of the nearest of the others, nearest first, on the CPU."""
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
