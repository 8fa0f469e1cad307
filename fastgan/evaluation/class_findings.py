"""What the codes make of known classes: groups that mix some, classes without a group, classes in several groups.

Legend: K codes (a code's images are a group), C real classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastgan.evaluation.diagnosis import Finding
from fastgan.text import joined, pluralize

MOSTLY = 0.75  # share of a group's images that one class needs for the group to be called mostly that class
NAMED = 0.1  # share of a group's images, or of a class's, from which another one is named
SPLIT = 0.25  # share of a class's images, and SPLIT_IMAGES of them, from which it counts as being in a further group
SPLIT_IMAGES = 5
MOST_NAMED = 3  # classes of a group, or groups of a class, that are named
MOST_TOLD = 6  # groups, or classes, that one finding tells of


def makeup(counts_C: Tensor, names: Sequence[str]) -> list[tuple[str, float]]:
    """The classes of one group's images with their shares, the most frequent first; empty for a group without images.

    Besides the first only those of at least NAMED, MOST_NAMED in all.
    """
    total = int(counts_C.sum())
    order = counts_C.argsort(descending=True, stable=True).tolist()[:MOST_NAMED] if total else []
    shares = [(names[c], float(counts_C[c]) / total) for c in order]
    return shares[:1] + [each for each in shares[1:] if each[1] >= NAMED]


def mixed(counts_C: Tensor) -> bool:
    """Whether a group has images, and no class has MOSTLY of them."""
    return bool(counts_C.max() < MOSTLY * counts_C.sum())


def class_findings(counts_KC: Tensor, names: Sequence[str], unused: Sequence[int]) -> list[Finding]:
    """What is wrong between groups and classes, each with its counts.

    Args:
        counts_KC: images of each code and real class, int64.
        unused: codes that nearly no image has, which are left out.
    """
    used = [k for k in range(len(counts_KC)) if k not in set(unused) and counts_KC[k].sum() > 0]
    known = [c for c in range(counts_KC.shape[1]) if counts_KC[:, c].sum() > 0]
    if not used:
        return []
    owned: dict[int, list[int]] = {c: [] for c in known}
    for k in used:
        owned[int(counts_KC[k].argmax())].append(k)
    found = [_mixes(counts_KC, names, used, len(known)), _without(counts_KC, names, owned)]
    found.append(_several(counts_KC, names, owned, used))
    return [finding for finding in found if finding is not None]


def _mixes(counts_KC: Tensor, names: Sequence[str], used: Sequence[int], classes: int) -> Finding | None:
    codes = [k for k in used if mixed(counts_KC[k])]
    if not codes:
        return None
    told = []
    for k in codes[:MOST_TOLD]:
        parts = [f"{share:.0%} class {name}" for name, share in makeup(counts_KC[k], names)]
        told.append(f"Group {k} ({pluralize(int(counts_KC[k].sum()), 'image')}) is {joined(parts)}")
    few = len(counts_KC) < classes
    remedy = (
        f"There are {len(counts_KC)} groups for {classes} classes: train again with --classes {classes} or more."
        if few
        else "Do not take them for a class. Train again with another --seed, or with more --classes, so that each "
        "class has room for a group of its own."
    )
    title = "A group mixes classes" if len(codes) == 1 else f"{len(codes)} groups mix classes"
    more = _more(len(codes), "group")
    return Finding(title, f"{'; '.join(told)}{more}. No class has {MOSTLY:.0%} of them.", remedy)


def _without(counts_KC: Tensor, names: Sequence[str], owned: dict[int, list[int]]) -> Finding | None:
    lost = [c for c, codes in owned.items() if not codes]
    if not lost:
        return None
    told = []
    for c in lost[:MOST_TOLD]:
        where = [f"{count:,} in group {k}" for k, count in _where(counts_KC[:, c])]
        told.append(_of_class(counts_KC, names, c, where))
    title = "A class has no group" if len(lost) == 1 else f"{len(lost)} classes have no group"
    return Finding(
        title,
        f"No group has it as its most frequent class. {'; '.join(told)}{_more(len(lost), 'class', 'classes')}.",
        "Nothing that the model draws or labels stands for it. Train again with more --classes or another --seed; of a "
        "class with very few images, add some.",
    )


def _several(
    counts_KC: Tensor, names: Sequence[str], owned: dict[int, list[int]], used: Sequence[int]
) -> Finding | None:
    within = {}
    for c, codes in owned.items():
        least = max(SPLIT_IMAGES, SPLIT * float(counts_KC[:, c].sum()))
        places = [k for k in used if k in codes or counts_KC[k, c] >= least]
        if codes and len(places) > 1:
            within[c] = sorted(places, key=lambda k: -int(counts_KC[k, c]))
    if not within:
        return None
    told = []
    for c in list(within)[:MOST_TOLD]:
        parts = [f"{int(counts_KC[k, c]):,} in group {k}" for k in within[c][:MOST_TOLD]]
        parts += [f"the rest in {len(within[c]) - MOST_TOLD} more"] if len(within[c]) > MOST_TOLD else []
        told.append(_of_class(counts_KC, names, c, parts))
    title = "A class is in several groups" if len(within) == 1 else f"{len(within)} classes are in several groups"
    return Finding(
        title,
        f"{'; '.join(told)}{_more(len(within), 'class', 'classes')}.",
        "See whether the groups show kinds of it that are worth telling apart. If not, read them as one, or train "
        "again with another --seed or fewer --classes.",
    )


def _where(counts_K: Tensor) -> list[tuple[int, int]]:
    """The groups that most of a class's images are in, with their numbers of them."""
    order = torch.argsort(counts_K, descending=True, stable=True).tolist()[:MOST_NAMED]
    least = NAMED * float(counts_K.sum())
    return [(k, int(counts_K[k])) for k in order if counts_K[k] >= max(1.0, least)] or [(order[0], int(counts_K.max()))]


def _of_class(counts_KC: Tensor, names: Sequence[str], c: int, parts: Sequence[str]) -> str:
    """A class, its number of images, and where they are."""
    return f"Class {names[c]} ({pluralize(int(counts_KC[:, c].sum()), 'image')}): {joined(parts)}"


def _more(count: int, one: str, many: str | None = None) -> str:
    return f"; and {pluralize(count - MOST_TOLD, f'more {one}', many and f'more {many}')}" if count > MOST_TOLD else ""
