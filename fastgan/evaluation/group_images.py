"""Which images to look at in each group: typical ones, doubtful ones, ones between two groups, ones unlike the rest.

A group is the images to which Q gives one code. How near two images are is the cosine of their embeddings by Q.

Legend: N images, M images of a group, K codes, D embedding, P pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from fastgan.data.neighbours import pixels
from fastgan.seeding import stream_seed

PARTS = 8  # of a group, of each of which a typical image is shown
CUT = 1000  # images of a group, at most, that its parts are found from
BINS = 20  # of a histogram of confidence
BETWEEN = 0.1  # probability of the second code, at least, of an image that stands between two groups
# Modified z-score above which a value is an outlier, and the factor that makes it a standard deviation for normal
# values (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).
UNLIKE, NORMAL = 3.5, 0.6745
FEWEST = 20  # images of a group in which outliers are looked for


@dataclass(frozen=True)
class Readings:
    """What Q says of N images, on the CPU.

    embeddings_ND: float32; codes_N2, confidences_N2: the two most probable codes, int64, and their probabilities.
    """

    embeddings_ND: Tensor
    codes_N2: Tensor
    confidences_N2: Tensor


@dataclass(frozen=True)
class GroupImages:
    """The images of one group, by index, int64.

    typical_M: all of them, the nearest to the group's centre first; spread_M: typical ones of each part of the group,
    see `spread_over`; unsure_M: the least sure first; random_M: in an
    order drawn by the seed. neighbour: the group with which this one shares most doubtful images, and between_M: those
    images, of either group, the most undecided first; None and empty where there are none. histogram: how many images
    have a confidence in each of BINS equal parts of [0, 1].
    """

    typical_M: Tensor
    spread_M: Tensor
    unsure_M: Tensor
    random_M: Tensor
    neighbour: int | None
    between_M: Tensor
    histogram: Sequence[int]


@dataclass(frozen=True)
class Outliers:
    """Images unlike the rest of their group, the most unlike first: int64 [M], and their modified z-scores [M]."""

    index_M: Tensor
    scores_M: Tensor


def group_images(readings: Readings, code: int, seed: int, images_NCHW: Tensor) -> GroupImages:
    """The images of the group `code`, sorted in several ways.

    Args:
        images_NCHW: uint8, all of them.
    """
    codes_N2, confidences_N2 = readings.codes_N2, readings.confidences_N2
    own_M = torch.nonzero(codes_N2[:, 0] == code).flatten()
    near_M, sure_M = _nearness(readings.embeddings_ND[own_M]), confidences_N2[own_M, 0]
    draw = torch.Generator().manual_seed(stream_seed(seed, f"report-{code}"))
    neighbour, between_M = _between(readings, code)
    parts_M = (sure_M * BINS).long().clamp(0, BINS - 1)
    typical_M = own_M[near_M.argsort(descending=True, stable=True)]
    return GroupImages(
        typical_M=typical_M,
        spread_M=typical_M[spread_over(pixels(images_NCHW, typical_M).cpu(), stream_seed(seed, f"parts-{code}"))],
        unsure_M=own_M[sure_M.argsort(stable=True)],
        random_M=own_M[torch.randperm(len(own_M), generator=draw)],
        neighbour=neighbour,
        between_M=between_M,
        histogram=torch.bincount(parts_M, minlength=BINS).tolist(),
    )


def spread_over(pixels_MP: Tensor, seed: int) -> Tensor:
    """Typical images of each part of a group: their places among its images, int64, at most PARTS.

    The images are cut into PARTS by k-means of their pixels, so that each look that many images have gets a picture,
    and of each part the most typical image is taken: the first of all images first, then those of the other parts, the
    largest part first. Of more than CUT images so many, drawn by the seed, find the parts.

    Args:
        pixels_MP: of the group's images, the most typical first.
    """
    count = len(pixels_MP)
    if count <= PARTS:
        return torch.arange(count)
    draw = torch.Generator().manual_seed(seed % 2**63)
    some = torch.randperm(count, generator=draw)[:CUT]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than parts
        found = KMeans(PARTS, n_init=1, random_state=seed % 2**32).fit(pixels_MP[some].numpy())
    parts = np.asarray(found.predict(pixels_MP.numpy()))
    numbers, first, sizes = np.unique(parts, return_index=True, return_counts=True)
    # A part's first image is its most typical one.
    order = sorted(range(len(numbers)), key=lambda part: (first[part] != 0, -int(sizes[part])))
    chosen = [int(first[part]) for part in order]
    return torch.tensor([*chosen, *(i for i in range(count) if i not in set(chosen))][:PARTS])


def outliers(readings: Readings, classes: int) -> Outliers:
    """Images whose distance from their group's centre stands out from the other distances in the group.

    The logarithms of the distances are compared, whose distribution has no long tail, by their modified z-score: the
    distance from the median in units of the median absolute deviation. Groups of fewer than FEWEST images have none.
    """
    found, scores = [], []
    for code in range(classes):
        own_M = torch.nonzero(readings.codes_N2[:, 0] == code).flatten()
        if len(own_M) < FEWEST:
            continue
        far_M = (1 - _nearness(readings.embeddings_ND[own_M])).clamp_min(1e-6).log()
        off_M = far_M - far_M.median()
        spread = float(off_M.abs().median())
        if spread > 0:
            z_M = NORMAL * off_M / spread
            found.append(own_M[z_M > UNLIKE])
            scores.append(z_M[z_M > UNLIKE])
    if not found:
        return Outliers(torch.empty(0, dtype=torch.int64), torch.empty(0))
    index_M, scores_M = torch.cat(found), torch.cat(scores)
    order_M = scores_M.argsort(descending=True, stable=True)
    return Outliers(index_M[order_M], scores_M[order_M])


def _nearness(embeddings_MD: Tensor) -> Tensor:
    """The cosine of each embedding and the mean of all, [M]."""
    unit_MD = F.normalize(embeddings_MD.float(), dim=1)
    return unit_MD @ F.normalize(unit_MD.sum(0), dim=0)


def _between(readings: Readings, code: int) -> tuple[int | None, Tensor]:
    """The group with which this one shares most doubtful images, and these."""
    doubtful_N = readings.confidences_N2[:, 1] >= BETWEEN
    shared_M = torch.nonzero(doubtful_N & (readings.codes_N2 == code).any(1)).flatten()
    if len(shared_M) == 0:
        return None, shared_M
    # Of its two codes, the one that is not this group's.
    other_M = readings.codes_N2[shared_M].sum(1) - code
    neighbour = int(torch.bincount(other_M).argmax())
    between_M = shared_M[other_M == neighbour]
    margin_M = readings.confidences_N2[between_M, 0] - readings.confidences_N2[between_M, 1]
    return neighbour, between_M[margin_M.argsort(stable=True)]
