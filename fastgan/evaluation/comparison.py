"""Two labelings of the same images, compared: which groups are the same, which images moved, how far both agree.

Groups are matched one to one so that as many images as possible keep their group (Hungarian). A matched pair is the
same group where more than SAME of the images that either holds are in both; above a half no group has two partners.

Legend: N images, A and B codes of the first and of the second labeling, M images of one move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor

from fastgan.evaluation.metrics import count_matrix, rand_index
from fastgan.text import words

SAME = 0.7  # share in common above which two groups count as the same
INSIDE = 0.8  # a group with more than this share of its images in one group of the other labeling is a part of it


@dataclass(frozen=True)
class SharedGroup:
    """Group `first` of one labeling and `second` of the other, which are the same.

    both: images in both; first_size, second_size: images of each.
    """

    first: int
    second: int
    both: int
    first_size: int
    second_size: int

    @property
    def share(self) -> float:
        """Of the images that either holds, the share in both (Jaccard index)."""
        return self.both / (self.first_size + self.second_size - self.both)


@dataclass(frozen=True)
class LoneGroup:
    """A group that the other labeling does not have, and where most of its images are there, in words."""

    code: int
    size: int
    where: str
    images_M: Tensor


MOVES = 200  # pairs of groups, at most, whose moved images are listed


@dataclass(frozen=True)
class Move:
    """Images that are in group `first` of one labeling and in `second` of the other, which is not its match."""

    first: int
    second: int
    images_M: Tensor


@dataclass(frozen=True)
class Comparison:
    """What two labelings have in common.

    ari, ami: adjusted Rand index and adjusted mutual information, 1 for equal groups and 0 by chance. kept: images
    whose group is that of the one-to-one match. inside: where the numbers of codes differ, the share of images in
    that group of the coarser labeling which holds most of their group of the finer; None where they do not. moves: of
    all images that are not kept, the largest first, at most MOVES.
    """

    count: int
    ari: float
    ami: float
    kept: int
    inside: float | None
    same: Sequence[SharedGroup]
    only_first: Sequence[LoneGroup]
    only_second: Sequence[LoneGroup]
    moves: Sequence[Move]


def compare(first_N: Tensor, second_N: Tensor, first_codes: int, second_codes: int) -> Comparison:
    """Compare two labelings, int64 [N] on the CPU, of at least one image."""
    counts_AB = count_matrix(first_N, second_N, first_codes, second_codes)
    rows, columns = linear_sum_assignment(counts_AB.numpy(), maximize=True)
    match = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    sizes_A, sizes_B = counts_AB.sum(1).tolist(), counts_AB.sum(0).tolist()
    pairs = [SharedGroup(a, b, int(counts_AB[a, b]), sizes_A[a], sizes_B[b]) for a, b in match.items()]
    same = sorted((pair for pair in pairs if pair.both and pair.share > SAME), key=lambda pair: -pair.both)
    return Comparison(
        count=len(first_N),
        ari=rand_index(first_N, second_N),
        ami=float(adjusted_mutual_info_score(first_N.numpy(), second_N.numpy())),
        kept=sum(pair.both for pair in pairs),
        inside=_inside(counts_AB),
        same=same,
        only_first=_alone(first_N, counts_AB, {pair.first for pair in same}),
        only_second=_alone(second_N, counts_AB.T, {pair.second for pair in same}),
        moves=_moves(first_N, second_N, counts_AB, match),
    )


def _inside(counts_AB: Tensor) -> float | None:
    """How far the finer labeling's groups lie within groups of the other."""
    coarse, fine = counts_AB.shape
    if coarse == fine:
        return None
    return float(counts_AB.max(0 if fine > coarse else 1).values.sum()) / float(counts_AB.sum())


def _alone(codes_N: Tensor, counts_AB: Tensor, shared: set[int]) -> list[LoneGroup]:
    """The groups with images that are not among the shared ones, the largest first."""
    sizes_A = counts_AB.sum(1)
    lone = [a for a in sizes_A.argsort(descending=True, stable=True).tolist() if int(sizes_A[a]) and a not in shared]
    return [LoneGroup(a, int(sizes_A[a]), where(counts_AB, a), torch.nonzero(codes_N == a)[:, 0]) for a in lone]


def where(counts_AB: Tensor, code: int) -> str:
    """Where the images of a group are in the other labeling: a part of a group, several groups together, or spread."""
    row_B, size = counts_AB[code].double(), float(counts_AB[code].sum())
    first = int(row_B.argmax())
    inner = [b for b in torch.nonzero(row_B > 0)[:, 0].tolist() if row_B[b] > INSIDE * float(counts_AB[:, b].sum())]
    inner.sort(key=lambda b: -float(row_B[b]))
    if len(inner) > 1 and float(row_B[inner].sum()) > INSIDE * size:
        return f"groups {words(inner)} together"
    if float(row_B[first]) > INSIDE * size:
        return f"a part of group {first}"
    shown = [b for b in row_B.argsort(descending=True, stable=True).tolist()[:3] if row_B[b] > 0]
    return "spread over groups " + ", ".join(f"{b} ({float(row_B[b]) / size:.0%})" for b in shown)


def _moves(first_N: Tensor, second_N: Tensor, counts_AB: Tensor, match: dict[int, int]) -> list[Move]:
    """Every pair of groups that are not matched and share images, those that share most first."""
    pairs = [(a, b) for a, b in torch.nonzero(counts_AB).tolist() if match.get(a) != b]
    pairs.sort(key=lambda pair: -int(counts_AB[pair]))
    return [Move(a, b, torch.nonzero((first_N == a) & (second_N == b))[:, 0]) for a, b in pairs[:MOVES]]
