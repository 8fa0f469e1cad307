"""Which number of classes, K, suits the images, from runs of several K on them; and how sure that is.

A number of classes suits where what is found does not depend on chance: where runs of other seeds find the same groups
(after Lange et al., Stability-based validation of clustering solutions, 2004) and where, as in prediction strength
(Tibshirani and Walther, 2005), of the stable numbers the largest is taken, since few classes are stable in any data.
With one seed of a K, the agreement of images with transforms of them stands in; it says less, for one run may be sure
of groups that another does not find.

Legend: K codes, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

from fastgan.evaluation.diagnosis import AGREE
from fastgan.evaluation.metrics import count_matrix, rand_index
from fastgan.evaluation.run_reading import RunReading
from fastgan.text import pluralize, words

# Views, the adjusted Rand index of images and transforms of them, above which the groups of one run are stable. Chosen
# on the first seed of two sets of bench/studies/suggest_k.py, `two` and `five`; the others were not looked at.
VIEWS_AGREE = 0.95


@dataclass(frozen=True)
class Level:
    """The runs of one K, averaged.

    seeds: mean adjusted Rand index of each two of them, None for a single run. views: that of images and transforms of
    them. distinct: codes left once unused ones are dropped and confused ones read as one. effective: number of equally
    frequent classes. silhouette: in Q's embedding, None where unknown. nested: the share of images whose group among
    the next more codes lies mainly in their group here, None for the largest K.
    """

    classes: int
    runs: int
    seeds: float | None
    views: float
    distinct: float
    effective: float
    silhouette: float | None
    nested: float | None

    @property
    def stable(self) -> bool:
        """Whether its groups are found again, by other seeds where there are some, else in transforms."""
        return self.seeds >= AGREE if self.seeds is not None else self.views >= VIEWS_AGREE

    @property
    def whole(self) -> bool:
        """Whether most of its runs use every code, none of them confused with another."""
        return self.distinct > self.classes - 0.5


@dataclass(frozen=True)
class Suggestion:
    """The K that suits best, None where none of those tried does; why, and what to do next, in sentences."""

    classes: int | None
    title: str
    reasons: Sequence[str]
    next_step: str


def levels(readings: Sequence[RunReading]) -> list[Level]:
    """The runs by K, the smallest first; runs that are hardly trained or have collapsed are left out."""
    by_k: dict[int, list[RunReading]] = {}
    for run in readings:
        if run.hardly is None and not run.collapsed:
            by_k.setdefault(run.classes, []).append(run)
    ordered = [by_k[classes] for classes in sorted(by_k)]
    nested = [_nested(runs, more) for runs, more in pairwise(ordered)]
    return [_level(runs, inner) for runs, inner in zip(ordered, [*nested, None], strict=True)] if ordered else []


def _level(runs: Sequence[RunReading], nested: float | None) -> Level:
    pairs = [rand_index(a.codes_N, b.codes_N) for a, b in combinations(runs, 2)]
    spread = [run.silhouette for run in runs if run.silhouette is not None]
    return Level(
        classes=runs[0].classes,
        runs=len(runs),
        seeds=fmean(pairs) if pairs else None,
        views=fmean(run.views for run in runs),
        distinct=fmean(run.distinct for run in runs),
        effective=fmean(run.effective for run in runs),
        silhouette=fmean(spread) if spread else None,
        nested=nested,
    )


def _nested(fewer: Sequence[RunReading], more: Sequence[RunReading]) -> float:
    """How far each group of the runs with more codes lies within one group of those with fewer: 1 for clean splits."""
    shares = []
    for run in fewer:
        for other in more:
            counts = count_matrix(run.codes_N, other.codes_N, run.classes, other.classes)
            shares.append(float(counts.max(0).values.sum()) / len(run.codes_N))
    return fmean(shares)


def suggest(found: Sequence[Level]) -> Suggestion:
    """The largest K whose groups are stable and all in use, with the reasons; needs two K or more."""
    reasons = [_verdict(level) for level in found]
    good = [level for level in found if level.stable and level.whole]
    if good:
        best = good[-1]
        return Suggestion(best.classes, f"Suggested: K = {best.classes}", reasons, _next(best, found))
    if (left := _left(found)) is not None:
        tried = f"--classes {left[0]}" if left[0] == left[1] else f"--classes {left[0]} to {left[1]}"
        step = f"Train with {tried}, with two seeds of each, and compare again."
        return Suggestion(None, "No K tried is both stable and fully used", reasons, step)
    fewest, most = found[0].classes, found[-1].classes
    others = f"fewer than {fewest} or more than {most} classes"
    step = f"Train for more --epochs first; then try {others}, with two seeds of each."
    return Suggestion(None, "No K tried is both stable and fully used", reasons, step)


def _left(found: Sequence[Level]) -> tuple[int, int] | None:
    """The least and most groups that are left of codes too many; None where that number grows with K, and says nothing.

    Codes too many are left unused or confused, and what remains is the best guess that there is. But runs that have not
    learned enough confuse codes as well, of any K.
    """
    left = [round(level.distinct) for level in found if not level.whole]
    if len(left) < 2 or max(left) - min(left) > max(1, max(left) // 5):
        return None
    return max(2, min(left)), max(2, max(left))


def _verdict(level: Level) -> str:
    """What speaks for and against a K."""
    if level.seeds is not None:
        how = f"{pluralize(level.runs, 'run')} agree to {level.seeds:.2f} (adjusted Rand index; {AGREE} is high)"
    else:
        how = f"images and transforms of them agree to {level.views:.2f} (one seed; {VIEWS_AGREE} is asked for)"
    used = "every group is in use and distinct"
    if not level.whole:
        used = f"about {level.distinct:.0f} groups are left once unused ones are dropped and confused ones put together"
    verdict = "stable" if level.stable else "not stable"
    return f"K = {level.classes} is {verdict}: {how}; {used}."


def _next(best: Level, found: Sequence[Level]) -> str:
    more = [level.classes for level in found if level.classes > best.classes]
    if not more:
        return (
            f"{best.classes} is the largest K tried, so that there may be more kinds: train with --classes "
            f"{2 * best.classes} as well, and compare again."
        )
    if best.seeds is None:
        return f"Train --classes {best.classes} once more with another --seed: one run of a K proves little."
    between = list(range(best.classes + 1, more[0]))
    if between:
        tried = words(between) if len(between) < 4 else f"{between[0]} to {between[-1]}"
        return f"Not tried: K = {tried}. Train some of them if the exact number matters."
    return "Look at the groups that the next larger K splits: where both parts show one kind, this K is right."
