"""Groups that one property tells apart, while another group has both kinds of it: it may have split one kind in two.

What the groups follow as a whole (followed.py) does not see it: of three groups, one may be a shape in two stains, and
the other two the remaining shapes, mixed, by stain.

Legend: M images that are looked at, G groups, R kinds of a property, D numbers of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgan.evaluation.finding import Action, Advice, Finding, Shown
from fastgan.evaluation.followed import (
    EVEN_OUT,
    FEWEST,
    LOOK,
    PICTURES,
    PLACES,
    Looked,
    evened,
    k_means,
    standardised,
)
from fastgan.evaluation.properties import Property
from fastgan.text import words

ONE_KIND = 0.95  # share of a group's images from which it counts as of one kind
BOTH = 0.75  # share of its most frequent kind up to which a group counts as having both
OF_BOTH = 0.2  # share of the images that groups with both kinds hold at least
# Distance of the two kinds of a quantity, in standard deviations within them, from which there are two kinds at all. Of
# a normal distribution that is cut in two it is 2.6, of a uniform one 3.5.
GAP = 5.0
SAME_CLASSES = 0.5  # overlap of two groups' classes, where these are known, from which they may be one


@dataclass(frozen=True)
class Split:
    """A property, its two kinds [M], the groups of each of them alone, and those that have both."""

    what: Property
    kinds_M: NDArray[np.int64]
    first: Sequence[int]
    second: Sequence[int]
    both: Sequence[int]


def splits(looked: Looked, properties: Sequence[Property]) -> list[Split]:
    """The properties that tell groups apart of which other groups have both kinds."""
    found = []
    for each in properties:
        kinds_M = _two_kinds(each)
        if kinds_M is None or (split := _split(looked, each, kinds_M)) is None:
            continue
        found.append(split)
    return found


def finding(found: Sequence[Split], looked: Looked) -> Finding | None:
    """The first of them in words, with pictures of its groups; None where there is none."""
    if not found:
        return None
    split, name = found[0], found[0].what.name
    one, other, both = (_groups(numbers) for numbers in (split.first, split.second, split.both))
    also = f" ({', '.join(each.what.name for each in found[1:])} too)" if len(found) > 1 else ""
    text = (
        f"{one[0].upper()}{one[1:]} and {other} are told apart by {name}{also}, of which each has nearly one kind "
        f"alone, and {both} {'has' if len(split.both) == 1 else 'have'} both. The two may hold the same kinds of "
        "image, parted by it."
    )
    advice = [Advice(Action.EVEN_OUT, evened(EVEN_OUT[name]) if name in EVEN_OUT else PLACES)]
    shown = [_shown(looked, groups[0], None) for groups in (split.first, split.second)]
    shown += [_shown(looked, split.both[0], split.kinds_M)]
    two = len(split.first) == len(split.second) == 1
    title = f"{'Two groups' if two else 'Groups'} may differ in {name} alone"
    return Finding(title, text, LOOK, advice, tuple(shown))


def _two_kinds(each: Property) -> NDArray[np.int64] | None:
    """The kind of each image, 0 or 1, and -1 where it is unknown; None where there are not two."""
    if each.kinds_M is not None:
        return each.kinds_M if len(np.unique(each.kinds_M)) == 2 else None
    assert each.values_MD is not None
    known_M = each.known
    values_MD = each.values_MD[known_M]
    if len(np.unique(values_MD, axis=0)) < 2:
        return None
    values_MD = standardised(values_MD)
    kinds_M = np.full(len(known_M), -1, np.int64)
    kinds_M[known_M] = k_means(values_MD, 2)
    sides = [values_MD[kinds_M[known_M] == kind] for kind in (0, 1)]
    axis_D = sides[1].mean(0) - sides[0].mean(0)
    apart, spread = float(axis_D @ axis_D), [float((side @ axis_D).var()) for side in sides]
    return kinds_M if apart > GAP * np.sqrt(max(sum(spread) / 2, 1e-24)) else None


def _split(looked: Looked, each: Property, kinds_M: NDArray[np.int64]) -> Split | None:
    """How a property with two kinds tells groups apart; None where it does not, or where no group has both kinds."""
    values, total = np.unique(kinds_M[kinds_M >= 0]), len(looked.codes_M)
    of_one: dict[int, list[int]] = {0: [], 1: []}
    both, held = [], 0
    for group in np.unique(looked.codes_M).tolist():
        own_M = (looked.codes_M == group) & (kinds_M >= 0)
        if own_M.sum() < max(2, FEWEST * total):
            continue
        share = float((kinds_M[own_M] == values[1]).mean())
        if max(share, 1 - share) >= ONE_KIND:
            of_one[int(share > 0.5)].append(group)
        elif max(share, 1 - share) <= BOTH:
            both.append(group)
            held += int(own_M.sum())
    if looked.labels_M is not None:
        of_one = _of_same_classes(looked, of_one)
    if not of_one[0] or not of_one[1] or held < OF_BOTH * total:
        return None
    return Split(each, kinds_M, of_one[0], of_one[1], both)


def _of_same_classes(looked: Looked, of_one: dict[int, list[int]]) -> dict[int, list[int]]:
    """Without the groups whose classes are other ones than those of each group of the other kind."""
    assert looked.labels_M is not None
    labels_M = looked.labels_M
    shares = {
        group: np.array([(labels_M[looked.codes_M == group] == label).mean() for label in np.unique(labels_M)])
        for group in (*of_one[0], *of_one[1])
    }

    def shared(group: int, others: Sequence[int]) -> bool:
        return any(np.minimum(shares[group], shares[other]).sum() >= SAME_CLASSES for other in others)

    return {side: [group for group in groups if shared(group, of_one[1 - side])] for side, groups in of_one.items()}


def _groups(numbers: Sequence[int]) -> str:
    return f"group{'' if len(numbers) == 1 else 's'} {words(list(numbers))}"


def _shown(looked: Looked, group: int, kinds_M: NDArray[np.int64] | None) -> Shown:
    """Images of a group; with kinds_M, as many of each."""
    own = np.flatnonzero(looked.codes_M == group)
    if kinds_M is None:
        return Shown(f"Group {group}", looked.chosen_M[own[:PICTURES]].tolist())
    halves = [own[kinds_M[own] == kind][: PICTURES // 2] for kind in np.unique(kinds_M[kinds_M >= 0])]
    return Shown(f"Group {group}, which has both", looked.chosen_M[np.concatenate(halves)].tolist())
