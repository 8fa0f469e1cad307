"""Everything that is found of a run: what looks wrong in it, and which groups are to be doubted, each for its reasons.

Legend: M images that are looked at, K codes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastgan.data import loading
from fastgan.evaluation import class_findings, diagnosis, drawn_alike, followed, properties, told_apart, trust
from fastgan.evaluation.code_summary import RunState, RunSummary
from fastgan.evaluation.comparison import compare
from fastgan.evaluation.drawn_alike import Alike
from fastgan.evaluation.finding import Finding
from fastgan.evaluation.told_apart import Split
from fastgan.text import words


@dataclass(frozen=True)
class Found:
    """findings: the worst first; doubts: by code, why the group may not be one kind, a few words each."""

    findings: Sequence[Finding]
    doubts: Mapping[int, Sequence[str]] = field(default_factory=dict)


def diagnose(
    state: RunState, summary: RunSummary, spreads: Mapping[int, float], alike: Mapping[int, Alike | None]
) -> Found:
    """What is found of a run; of one that is hardly trained nothing is said of its groups.

    Args:
        spreads, alike: of the codes whose samples were drawn.
    """
    of_them, apart = ([], []) if summary.hardly_trained else of_groups(state, summary)
    drawn = None if summary.hardly_trained else drawn_alike.finding(alike, summary.codes_N)
    facts = diagnosis.Facts(
        prior_K=summary.prior_K,
        sizes_K=summary.sizes_K,
        prior_is_learned=state.config.prior == "learned",
        images_seen=state.images_seen,
        images_planned=summary.images_planned,
        merge=summary.merge,
        last_d_loss=diagnosis.last_mean(state.rows, "d_loss"),
        spreads_K=[spreads.get(k, math.nan) for k in range(state.config.classes)],
        of_groups=[*of_them, *([] if drawn is None else [drawn])],
    )
    return Found(diagnosis.findings(facts), {} if summary.hardly_trained else doubts(state, summary, apart, alike))


def of_groups(state: RunState, summary: RunSummary) -> tuple[list[Finding], list[Split]]:
    """What is found of the groups of real images: what they follow, how far to trust them, which classes they mix.

    And the properties that tell some of them apart while others have both kinds.
    """
    chosen_M, labels = summary.chosen_M, state.images.labels
    looked = followed.Looked(
        chosen_M.numpy(), summary.codes_N[chosen_M].numpy(), None if labels is None else labels[chosen_M].numpy()
    )
    folder = None if state.images.paths is None else loading.data_folder(state.config)
    measured = properties.measure(state.images, folder, chosen_M)
    found = followed.follow(looked.codes_M, measured, looked.labels_M)
    named = {each.what.name for each in found if each.clearly}
    apart = told_apart.splits(looked, [each for each in measured if each.name not in named])
    classes = None if summary.counts_KC is None else int((summary.counts_KC.sum(0) > 0).sum())
    findings = [
        followed.finding(found, looked),
        told_apart.finding(apart, looked),
        trust.finding(summary.trust, classes),
    ]
    if summary.counts_KC is not None and labels is not None:
        counted = class_findings.Counted(summary.counts_KC, summary.class_names, summary.codes_N, labels.cpu())
        findings += class_findings.class_findings(counted, summary.unused)
    return [finding for finding in findings if finding is not None], apart


def doubts(
    state: RunState, summary: RunSummary, apart: Sequence[Split], alike: Mapping[int, Alike | None]
) -> dict[int, list[str]]:
    """Why a group may not be one kind of image, by code; groups that nearly no image has are left out."""
    found: dict[int, list[str]] = {}
    other, lost = None, _lost(summary)
    if state.beside_N is not None:
        codes = int(state.beside_N.max()) + 1
        other = compare(summary.codes_N, state.beside_N, state.config.classes, codes)
    for k in range(state.config.classes):
        own_N = summary.codes_N == k
        if k in set(summary.unused) or not own_N.any():
            continue
        told = []
        if summary.counts_KC is not None and class_findings.mixed(summary.counts_KC[k]):
            told.append("it mixes classes")
        told += [f"it holds class {name}, which has no group of its own" for name in lost.get(k, ())]
        if with_ := sorted({pair.first + pair.second - k for pair in summary.merge if k in (pair.first, pair.second)}):
            told.append(f"hard to tell from group{'s' if len(with_) > 1 else ''} {words(with_)}")
        for split in apart[:1]:
            sides = (split.first, split.second)
            for own, others in (sides, sides[::-1]):
                if k in own:
                    told.append(f"may be the same as group {words(others)} but for {split.what.name}")
        if (views := float(summary.trust.views_K[k])) < trust.VIEWS_LOW:
            told.append(f"another view of an image gets another group in {1 - views:.0%} of cases")
        near = summary.trust.near(k)
        if near is not None and near < trust.NEIGHBOURS_LOW:
            told.append("images with nearly the same pixels are often in other groups")
        if (sure := float(summary.confidences_N[own_N].double().mean())) < trust.SURE:
            told.append(f"the model is only {sure:.0%} sure of its images")
        drawn = alike.get(k)
        if drawn is not None and drawn.unlike:
            told.append("what the model makes for it looks like another group")
        if other is not None:
            lone = [each.where for each in other.only_first if each.code == k]
            told += [f"the other run does not have it: there it is {where}" for where in lone]
        if told:
            found[k] = told
    return found


def _lost(summary: RunSummary) -> dict[int, list[str]]:
    """The classes that are the most frequent of no group, by the code that has most of their images."""
    found: dict[int, list[str]] = {}
    if summary.counts_KC is not None:
        for c, codes in class_findings.groups_of(summary.counts_KC, summary.unused).items():
            if not codes:
                found.setdefault(int(summary.counts_KC[:, c].argmax()), []).append(summary.class_names[c])
    return found
