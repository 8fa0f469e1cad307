"""What the codes make of known classes: groups that mix some, classes without a group, classes in several groups.

Legend: N images, K codes (a code's images are a group), C real classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastgan.evaluation.finding import Action, Advice, Finding, Shown
from fastgan.text import joined, pluralize

MOSTLY = 0.75  # share of a group's images that one class needs for the group to be called mostly that class
NAMED = 0.1  # share of a group's images, or of a class's, from which another one is named
SPLIT = 0.25  # share of a class's images, and SPLIT_IMAGES of them, from which it counts as being in a further group
SPLIT_IMAGES = 5
MOST_NAMED = 3  # classes of a group, or groups of a class, that are named
MOST_TOLD = 6  # groups, or classes, that one finding tells of
MOST_SHOWN, PICTURES = 3, 8  # groups, or classes, that one finding shows, and pictures of each


@dataclass(frozen=True)
class Counted:
    """Groups and classes: images of each code and real class, int64; the classes' names; both of each image, int64."""

    counts_KC: Tensor
    names: Sequence[str]
    codes_N: Tensor
    labels_N: Tensor

    def shown(self, code: int, label: int, most: int = PICTURES) -> list[int]:
        """The first images of a group and class."""
        return torch.nonzero((self.codes_N == code) & (self.labels_N == label)).flatten()[:most].tolist()


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


def class_findings(counted: Counted, unused: Sequence[int]) -> list[Finding]:
    """What is wrong between groups and classes, each with its counts and pictures.

    Args:
        unused: codes that nearly no image has, which are left out.
    """
    owned = groups_of(counted.counts_KC, unused)
    used = sorted(k for codes in owned.values() for k in codes)
    if not used:
        return []
    found = [_mixes(counted, used, len(owned)), _without(counted, owned), _several(counted, owned, used)]
    return [finding for finding in found if finding is not None]


def groups_of(counts_KC: Tensor, unused: Sequence[int]) -> dict[int, list[int]]:
    """Of each class that has images the groups of which it is the most frequent; `unused` as in `class_findings`."""
    owned: dict[int, list[int]] = {c: [] for c in range(counts_KC.shape[1]) if counts_KC[:, c].sum() > 0}
    for k in range(len(counts_KC)):
        if k not in set(unused) and counts_KC[k].sum() > 0:
            owned[int(counts_KC[k].argmax())].append(k)
    return owned


def _mixes(counted: Counted, used: Sequence[int], classes: int) -> Finding | None:
    counts_KC, names = counted.counts_KC, counted.names
    codes = [k for k in used if mixed(counts_KC[k])]
    if not codes:
        return None
    told = []
    for k in codes[:MOST_TOLD]:
        parts = [f"{share:.0%} class {name}" for name, share in makeup(counts_KC[k], names)]
        told.append(f"Group {k} ({pluralize(int(counts_KC[k].sum()), 'image')}) is {joined(parts)}")
    few = len(counts_KC) < classes
    check = f"Do not take {'it' if len(codes) == 1 else 'them'} for a class."
    check += f" There are {len(counts_KC)} groups for {classes} classes." if few else ""
    more_groups = Advice(Action.MORE, classes=classes if few else len(counts_KC) + len(codes))
    title = "A group mixes classes" if len(codes) == 1 else f"{len(codes)} groups mix classes"
    more = _more(len(codes), "group")
    text = f"{'; '.join(told)}{more}. No class has {MOSTLY:.0%} of them."
    shown = []
    for k in codes[:MOST_SHOWN]:
        classes_k = [names.index(name) for name, _ in makeup(counts_KC[k], names)]
        chosen = [i for c in classes_k for i in counted.shown(k, c, PICTURES // len(classes_k))]
        shown.append(Shown(f"Group {k}: class {joined([names[c] for c in classes_k])}", chosen))
    return Finding(title, text, check, [more_groups, Advice(Action.SEED)], shown)


def _without(counted: Counted, owned: dict[int, list[int]]) -> Finding | None:
    counts_KC, names = counted.counts_KC, counted.names
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
        f"Nothing that the model draws or labels stands for {'it' if len(lost) == 1 else 'them'}. Of a class with very "
        "few images, add some.",
        [Advice(Action.MORE, classes=len(counts_KC) + len(lost)), Advice(Action.SEED)],
        [
            Shown(f"Class {names[c]}, in group {k}", counted.shown(k, c))
            for c in lost[:MOST_SHOWN]
            for k, _ in _where(counts_KC[:, c])[:1]
        ],
    )


def _several(counted: Counted, owned: dict[int, list[int]], used: Sequence[int]) -> Finding | None:
    counts_KC, names = counted.counts_KC, counted.names
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
    # Only groups that are mostly this class can be read as one; elsewhere it is a part of a mixture.
    alone = {c: [k for k in owned[c] if not mixed(counts_KC[k])] for c in within}
    sets = [codes for codes in alone.values() if len(codes) > 1]
    left = max(2, len(counts_KC) - sum(len(each) - 1 for each in sets))
    joined_up = [Advice(Action.JOIN, groups=sets), Advice(Action.FEWER, classes=left)]
    advice = joined_up if sets and left < len(counts_KC) else [Advice(Action.SEED)]
    title = "A class is in several groups" if len(within) == 1 else f"{len(within)} classes are in several groups"
    return Finding(
        title,
        f"{'; '.join(told)}{_more(len(within), 'class', 'classes')}.",
        "See whether the groups show kinds of it that are worth telling apart.",
        advice,
        [
            Shown(f"Class {names[c]}, in group {k}", counted.shown(k, c))
            for c in list(within)[:2]
            for k in within[c][:2]
        ],
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
