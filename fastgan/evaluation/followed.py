"""What the groups follow: how much a group's number tells of each property of its images, against chance.

Legend: N images, M images that are looked at, K codes, R kinds of a property, D numbers of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

from fastgan.evaluation.finding import Action, Advice, Finding, Shown
from fastgan.evaluation.properties import Property
from fastgan.text import joined

MOST_BINS = 10  # of a quantity
WORTH = 0.3  # the lowest score that is ever spoken of
LEAST_ENTROPY = 0.05  # nats, below which a property, or the groups, hardly vary: there is nothing to be told
PERMUTATIONS = 50  # of the groups, for the level of chance
SEED = 0
NOT_AT_ALL = 0.1  # score below which a property is named as one that the groups do not follow
MOST_NAMED = 3  # properties that are followed, and as many that are not
PICTURES = 8  # of each extreme
FEWEST = 0.01  # share of the images that a group needs for being shown as an extreme
# The ends of a quantity, in words.
ENDS = {
    "brightness": ("the darkest", "the brightest"),
    "contrast": ("the least contrast", "the most contrast"),
    "sharpness": ("the least sharp", "the sharpest"),
    "mean colour": ("one end of the mean colours", "the other end of them"),
    "image size": ("the smallest images", "the largest images"),
    "file size": ("the smallest files", "the largest files"),
    "file date": ("the earliest files", "the latest files"),
}
EVEN_OUT = {
    "brightness": "bring the images to one brightness, or train with stronger changes of it (a larger "
    "--transform.brightness)",
    "contrast": "bring the images to one contrast, or train with stronger changes of it (a larger "
    "--transform.contrast)",
    "sharpness": "bring the images to one sharpness (blur the sharper ones)",
    "mean colour": "bring the images to one colour, train with stronger changes of it (a larger --transform.hue), or "
    "in grey (--channels 1)",
    "image size": "crop or resize all files to one size before training",
    "file size": "save all files in one way before training",
    "file format": "save all files in one format before training",
}
LOOK = "Look at the pictures: do the groups differ in what you look for, or in this alone?"
PLACES = (
    "If the subfolders or dates are those of the kinds that you look for, all is well; if they are of laboratories, "
    "cameras or days, train on each by itself, or bring their images to one look."
)
Kinds = NDArray[np.int64]


@dataclass(frozen=True)
class Followed:
    """How far the groups follow one property.

    score: mutual information of group and property, less what chance gives, relative to the most that it can be: 0 by
    chance, 1 if one of the two gives the other away. With labels only what it tells within a class counts. chance: the
    highest score of PERMUTATIONS random orders of the groups. bins: as many kinds or ranges of the property, or groups,
    whichever are fewer.
    """

    what: Property
    score: float
    chance: float
    bins: int

    @property
    def least(self) -> float:
        """The score from which the groups are said to follow it."""
        return threshold(self.bins, shown=self.what.shown)

    @property
    def clearly(self) -> bool:
        """Whether they are."""
        return self.score >= self.least and self.score > self.chance


@dataclass(frozen=True)
class Looked:
    """The images that were looked at: their indices, codes and, where they are known, classes, int64 [M]."""

    chosen_M: Kinds
    codes_M: Kinds
    labels_M: Kinds | None = None


def follow(codes_M: Kinds, properties: Sequence[Property], labels_M: Kinds | None = None) -> list[Followed]:
    """How far the groups follow each property, the most first by how far each is above its `threshold`.

    A quantity is cut twice, into as many ranges as there are groups (MOST_BINS at most) with equally many images each,
    and in two where it has its largest gap (k-means); the cut that says more is taken.

    Args:
        codes_M: of the images, int64; labels_M: their classes where they are known.
    """
    found = []
    for each in properties:
        known_M = each.known
        if known_M.sum() < 2:
            continue
        codes, labels = codes_M[known_M], None if labels_M is None else labels_M[known_M]
        cuts = [told(codes, kinds, labels) for kinds in _cuts(each, known_M, len(np.unique(codes)))]
        score, chance, bins = max(cuts, key=lambda cut: cut[0] - threshold(cut[2], shown=each.shown))
        found.append(Followed(each, score, chance, bins))
    return sorted(found, key=lambda one: round(one.least - one.score, 3))  # in a tie, as they were measured


def threshold(bins: int, *, shown: bool = True) -> float:
    """The score from which groups are said to follow a property: WORTH.

    More where the images themselves show it and there are fewer than six groups or ranges, 0.7 for two: two classes
    that differ at all often differ in brightness too. docs/honesty.md counts the false alarms.
    """
    return max(WORTH, 0.9 - 0.1 * bins) if shown else WORTH


def told(codes_M: Kinds, kinds_M: Kinds, labels_M: Kinds | None = None) -> tuple[float, float, int]:
    """Score, its level by chance, and bins: see `Followed`.

    Mutual information is adjusted for chance as in Vinh, Epps and Bailey (JMLR 11, 2010), and divided by the smaller of
    the two entropies; within classes, by their sizes, where there are labels.
    """
    bins = min(len(np.unique(codes_M)), len(np.unique(kinds_M)))
    classes = [np.ones(len(codes_M), bool)] if labels_M is None else [labels_M == c for c in np.unique(labels_M)]
    expected = sum(own.mean() * _expected(codes_M[own], kinds_M[own]) for own in classes)
    most = min(_entropy(codes_M), _entropy(kinds_M)) - expected
    if sum(own.mean() * _entropy(kinds_M[own]) for own in classes) < LEAST_ENTROPY:
        return 0.0, 0.0, 1  # as the labels themselves
    if most < LEAST_ENTROPY:
        return 0.0, 0.0, bins

    def score(order_M: Kinds) -> float:
        shared = sum(own.mean() * mutual_info_score(order_M[own], kinds_M[own]) for own in classes)
        return float((shared - expected) / most)

    draw, random = np.random.default_rng(SEED), []
    found = score(codes_M)
    if found >= WORTH:  # nobody asks for the level of chance of anything less
        for _ in range(PERMUTATIONS):
            order_M = codes_M.copy()
            for own in classes:
                order_M[own] = draw.permutation(codes_M[own])
            random.append(score(order_M))
    return found, max(random, default=0.0), bins


def _entropy(kinds_M: Kinds) -> float:
    share = np.unique(kinds_M, return_counts=True)[1] / len(kinds_M)
    return float(-(share * np.log(share)).sum())


def _expected(codes_M: Kinds, kinds_M: Kinds) -> float:
    """The mutual information that chance gives, in nats."""
    (_, code), (_, kind) = (np.unique(each, return_inverse=True) for each in (codes_M, kinds_M))
    table = np.zeros((code.max() + 1, kind.max() + 1), np.int64)
    np.add.at(table, (code.reshape(-1), kind.reshape(-1)), 1)
    return float(expected_mutual_information(table, len(codes_M))) if min(table.shape) > 1 else 0.0


def _cuts(each: Property, known_M: NDArray[np.bool_], groups: int) -> list[Kinds]:
    """The kinds of a property's images; of a quantity, two ways of cutting it into ranges."""
    if each.kinds_M is not None:
        return [each.kinds_M]
    assert each.values_MD is not None
    values_MD, bins = each.values_MD[known_M], max(2, min(groups, MOST_BINS))
    values_MD = standardised(values_MD)
    if values_MD.shape[1] > 1:
        return [k_means(values_MD, number) for number in sorted({2, bins})]
    edges = np.unique(np.quantile(values_MD[:, 0], np.arange(1, bins) / bins))
    return [np.searchsorted(edges, values_MD[:, 0], side="right").astype(np.int64), k_means(values_MD, 2)]


def standardised(values_MD: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each number with mean 0 and, where it varies, standard deviation 1."""
    scaled_MD: NDArray[np.float64] = (values_MD - values_MD.mean(0)) / np.maximum(values_MD.std(0), 1e-12)
    return scaled_MD


def k_means(values_MD: NDArray[np.float64], number: int) -> Kinds:
    """As many kinds, or as many as there are different values."""
    number = min(number, len(np.unique(values_MD, axis=0)))
    return KMeans(number, n_init=3, random_state=SEED).fit_predict(values_MD).astype(np.int64)


def finding(found: Sequence[Followed], looked: Looked) -> Finding | None:
    """What the groups clearly follow, in words, with pictures of its extremes; None where it is nothing."""
    clear = [each for each in found if each.clearly][:MOST_NAMED]
    if not clear:
        return None
    top, others = clear[0], [each for each in found if each.score < NOT_AT_ALL and each.bins > 1]
    denied = [f"{each.what.name} ({max(each.score, 0.0):.2f})" for each in others[-MOST_NAMED:]]
    within = ""
    if looked.labels_M is not None:
        score, _, _ = told(looked.codes_M, looked.labels_M)
        if score < top.score:
            denied.insert(0, f"the labels ({score:.2f})")
            within = " The other figures count what a group tells within one class."
        else:
            within = f" These figures count what a group tells within one class; of the labels it tells {score:.2f}."
    scale = "0 is chance, 1 means that one tells the other"
    text = f"The groups follow {joined([_named(each) for each in clear])}"
    text += f", not {joined(denied, 'or')}" if denied else ""
    text += f": {scale}.{within} It may be what they were made by, or the kinds may differ in it."
    even = list(dict.fromkeys(EVEN_OUT[each.what.name] for each in clear if each.what.name in EVEN_OUT))
    places = [PLACES] if any(each.what.name not in EVEN_OUT for each in clear) else []
    advice = [Advice(Action.EVEN_OUT, part) for part in (*places, *map(evened, even))]
    return Finding(f"The groups follow {top.what.name}", text, LOOK, advice, _extremes(top.what, looked), of_all=True)


def evened(how: str) -> str:
    """One of EVEN_OUT as advice."""
    return f"If it is this alone: {how}."


def _named(each: Followed) -> str:
    return f"{each.what.name} ({each.score:.2f})"


def _extremes(each: Property, looked: Looked) -> tuple[Shown, ...]:
    """Two groups that differ most in a property, and images of each that show it."""
    codes_M, known_M = looked.codes_M, each.known
    groups = [k for k in np.unique(codes_M).tolist() if (codes_M == k).mean() >= FEWEST and known_M[codes_M == k].any()]
    if each.kinds_M is not None:
        return _of_kinds(each, groups, looked)
    assert each.values_MD is not None
    axis_M = np.full(len(codes_M), np.nan)
    axis_M[known_M] = _along(each.values_MD[known_M])
    groups.sort(key=lambda k: float(axis_M[known_M & (codes_M == k)].mean()))
    shown = []
    for code, sign, end in zip((groups[0], groups[-1]), (1, -1), ENDS[each.name], strict=True):
        own = np.flatnonzero(known_M & (codes_M == code))
        own = own[np.argsort(sign * axis_M[own], kind="stable")][:PICTURES]
        shown.append(Shown(f"Group {code}: {end}", looked.chosen_M[own].tolist()))
    return tuple(shown)


def _of_kinds(each: Property, groups: Sequence[int], looked: Looked) -> tuple[Shown, ...]:
    """For the two most frequent kinds, the group that has most of them for its size."""
    assert each.kinds_M is not None
    shown = []
    for kind in np.bincount(each.kinds_M).argsort(kind="stable")[::-1][:2].tolist():
        of_kind_M = each.kinds_M == kind
        code = max(groups, key=lambda k: float(of_kind_M[looked.codes_M == k].mean()))
        own_M = looked.codes_M == code
        share, index = float(of_kind_M[own_M].mean()), np.flatnonzero(of_kind_M & own_M)[:PICTURES]
        if len(index):
            word = "from" if "subfolder" in each.name else "with"
            caption = f"Group {code}: {share:.0%} {word} {each.name} {each.names[kind] or 'none'}"
            shown.append(Shown(caption, looked.chosen_M[index].tolist()))
    return tuple(shown)


def _along(values_MD: NDArray[np.float64]) -> NDArray[np.float64]:
    """One number for each image: the quantity, or its place along the direction in which several vary most, [M]."""
    centred_MD = standardised(values_MD)
    if centred_MD.shape[1] == 1:
        return centred_MD[:, 0]
    return centred_MD @ np.linalg.svd(centred_MD, full_matrices=False)[2][0]
