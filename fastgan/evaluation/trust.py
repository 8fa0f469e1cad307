"""How far a code can be trusted: what other looks at an image say, beside how sure Q is.

Q's confidence is its own opinion. A second view of the image, the images most like it in pixels, another run and, where
they are known, the labels are asked whether they say the same.

Legend: N images, M images that are looked at, K codes, V neighbours, P pixels, B bins of confidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastgan.data.neighbours import centred, nearest, pixels
from fastgan.evaluation import metrics
from fastgan.evaluation.diagnosis import DISAGREE
from fastgan.evaluation.finding import Action, Advice, Finding
from fastgan.text import joined

SURE = 0.8  # mean confidence from which Q is called sure
GAP = 0.1  # less than this below it, a second view bears the confidence out
# Agreement below which sureness says little. docs/honesty.md has what good runs and bad ones reach.
VIEWS_LOW, NEIGHBOURS_LOW, LABELS_LOW = 0.8, 0.5, 0.7
FEW_IMAGES = 20  # in a range of confidence, below which nothing is said of it
NEIGHBOURS = 5  # of each image
EDGES = (0.5, 0.8, 0.95, 0.99)  # of the bins of confidence


@dataclass(frozen=True)
class Bin:
    """The images of one range of confidence: `stated` is Q's mean, `views` and `neighbours` as in `Trust`."""

    low: float
    high: float
    images: int
    stated: float
    views: float
    neighbours: float | None


@dataclass(frozen=True)
class Trust:
    """How sure Q is, and how often what else was asked agrees; shares in [0, 1], None where there is nothing to ask.

    stated: Q's mean confidence. views: a transform of an image gets its code. neighbours: of the NEIGHBOURS images most
    like an image in pixels, the share with its code; chance: that share if codes were dealt out at random. labels:
    images that are of their code's most frequent class. seeds: adjusted Rand index with another run. views_K: `views`
    by code, NaN where no image was asked; near_K: `neighbours` likewise. error: mean
    distance of `stated` and `views` over the bins, weighted by their images (the expected calibration error, with a
    second view in the place of the truth).
    """

    stated: float
    views: float
    neighbours: float | None
    chance: float
    labels: float | None
    seeds: float | None
    views_K: Tensor
    bins: Sequence[Bin]
    near_K: Tensor | None = None

    @property
    def error(self) -> float:
        total = max(1, sum(each.images for each in self.bins))
        return sum(each.images * abs(each.stated - each.views) for each in self.bins) / total

    @property
    def above_chance(self) -> float | None:
        """`neighbours`, with 0 for chance and 1 for all."""
        return None if self.neighbours is None else self._above_chance(self.neighbours)

    def near(self, code: int) -> float | None:
        """As `above_chance`, of one code."""
        found = float("nan") if self.near_K is None else float(self.near_K[code])
        return None if math.isnan(found) else self._above_chance(found)

    def _above_chance(self, share: float) -> float | None:
        return None if self.chance >= 1 else (share - self.chance) / (1 - self.chance)


def measure(
    images_NCHW: Tensor,
    codes_N: Tensor,
    confidences_N: Tensor,
    chosen_M: Tensor,
    transformed_MK: Tensor,
    *,
    counts_KC: Tensor | None = None,
    beside_N: Tensor | None = None,
) -> Trust:
    """Ask a second view, the neighbours in pixels, the labels and another run.

    Args:
        images_NCHW: uint8; codes_N, confidences_N: Q's code of each, int64, and its probability, on the CPU.
        chosen_M: the images that are looked at; transformed_MK: Q's probabilities of a transform of each.
        counts_KC: images of each code and real class; beside_N: the codes that another run gives the images.
    """
    own_M, count = codes_N[chosen_M], transformed_MK.shape[1]
    same_M = (transformed_MK.argmax(1) == own_M).double()
    near_M = neighbours_agree(images_NCHW, own_M, chosen_M)
    asked_K = torch.bincount(own_M, minlength=count)
    sizes_K = metrics.cluster_sizes(own_M, count)
    known = counts_KC is not None and int(counts_KC.sum()) > 0
    return Trust(
        stated=float(confidences_N.mean()),
        views=float(same_M.mean()),
        neighbours=None if near_M is None else float(near_M.mean()),
        chance=float(sizes_K.square().sum()),
        labels=float(counts_KC.amax(1).sum() / counts_KC.sum()) if counts_KC is not None and known else None,
        seeds=None if beside_N is None else metrics.rand_index(codes_N, beside_N),
        views_K=torch.bincount(own_M, weights=same_M, minlength=count) / asked_K,
        bins=_bins(confidences_N[chosen_M].double(), same_M, near_M),
        near_K=None if near_M is None else torch.bincount(own_M, weights=near_M, minlength=count) / asked_K,
    )


def in_words(trust: Trust) -> list[str]:
    """How sure Q is and what others say, in sentences that never take one for the other."""
    asked = [f"a second view of an image gets the same code in {trust.views:.1%} of cases"]
    if trust.neighbours is not None:
        asked.append(
            f"of the {NEIGHBOURS} images most like it in pixels {trust.neighbours:.1%} have its code "
            f"({trust.chance:.1%} would by chance)"
        )
    if trust.seeds is not None:
        asked.append(f"the adjusted Rand index with the groups of another run is {trust.seeds:.2f}")
    if trust.labels is not None:
        asked.append(f"{trust.labels:.1%} of the images are of their code's most frequent class")
    found = [
        f"Q, which tells the code of an image, is {trust.stated:.1%} sure on average. That is its own opinion, not how "
        f"often it is right: {'; '.join(asked)}."
    ]
    told = [each for each in trust.bins if each.images >= FEW_IMAGES]
    if len(told) > 1:
        parts = [f"{each.views:.0%} where it is {_range(each)} sure" for each in reversed(told)]
        found.append(f"The second view agrees in {joined(parts)}.")
    return found


def _range(each: Bin) -> str:
    if each.low == 0:
        return f"less than {each.high:.0%}"
    return f"at least {each.low:.0%}" if each.high == 1 else f"{each.low:.0%} to {each.high:.0%}"


def finding(trust: Trust, classes: int | None = None) -> Finding | None:
    """That Q is sure and others disagree; None where it is not sure (SURE), or they agree.

    Args:
        classes: the number of real classes, where it is known; with fewer codes than these the labels are not asked.
    """
    if trust.stated < SURE:
        return None
    against, near = [], trust.above_chance
    if trust.views < VIEWS_LOW and trust.stated - trust.views >= GAP:
        against.append(f"a second view of an image gets another code in {1 - trust.views:.0%} of cases")
    if near is not None and near < NEIGHBOURS_LOW:
        against.append(
            f"of the {NEIGHBOURS} images most like an image in pixels only {trust.neighbours:.0%} have its code, where "
            f"chance gives {trust.chance:.0%}"
        )
    if trust.seeds is not None and trust.seeds < DISAGREE:
        against.append(f"another run finds other groups (adjusted Rand index {trust.seeds:.2f})")
    if trust.labels is not None and trust.labels < LABELS_LOW and len(trust.views_K) >= (classes or 0):
        against.append(f"only {trust.labels:.0%} of the images are of their group's most frequent class")
    if not against:
        return None
    return Finding(
        "Sure is not right",
        f"Q is {trust.stated:.1%} sure on average, but {'; '.join(against)}.",
        "Do not take its confidence for how often it is right.",
        [Advice(Action.OTHER_NUMBER) if trust.seeds is not None else Advice(Action.SECOND)],
        of_all=True,
    )


def neighbours_agree(images_NCHW: Tensor, own_M: Tensor, chosen_M: Tensor) -> Tensor | None:
    """The share [M], float64, of an image's neighbours among the chosen that have its code; None for a lone image.

    Neighbours are those of the largest cosine of pixels, as `neighbours.pixels` has them, without the images' mean.
    """
    voters = min(NEIGHBOURS, len(chosen_M) - 1)
    if voters < 1:
        return None
    pixels_MP = pixels(images_NCHW, chosen_M)
    unit_MP = centred(pixels_MP, pixels_MP.mean(0))
    _, nearest_MV = nearest(unit_MP, unit_MP, voters, skip_first=True)
    return (own_M[nearest_MV] == own_M[:, None]).double().mean(1)


def _bins(stated_M: Tensor, same_M: Tensor, near_M: Tensor | None) -> list[Bin]:
    """What is said of the images of each range of confidence; ranges without an image are left out."""
    number_M = torch.bucketize(stated_M, torch.tensor(EDGES, dtype=torch.float64), right=True)
    limits, found = (0.0, *EDGES, 1.0), []
    for i in range(len(limits) - 1):
        own_M = number_M == i
        if own_M.any():
            near = None if near_M is None else float(near_M[own_M].mean())
            means = float(stated_M[own_M].mean()), float(same_M[own_M].mean())
            found.append(Bin(limits[i], limits[i + 1], int(own_M.sum()), *means, near))
    return found
