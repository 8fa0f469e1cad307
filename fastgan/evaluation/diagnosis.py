"""Findings from a run's figures: whether K fits the data, what looks wrong, and what to do about it.

Legend: N images, K codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from fastgan.config.schedule import SHOWN
from fastgan.evaluation.confusion import CONFUSED, MergeCandidate, merged
from fastgan.evaluation.finding import Action, Advice, Finding
from fastgan.evaluation.metrics import UNUSED_SHARE, effective_classes, unused_codes
from fastgan.text import pluralize, words

# Images below which a run is hardly trained: where a run of the default length first groups them. NMI was 0.003 after
# 37,312 images of MNIST, and of the digits 0.000 after 46,080 and 0.931 after 92,160.
FEW_SHOWN = SHOWN // 5
NEAR_ONE = 1.2  # effective number of classes below which it counts as one; two classes of 95% and 5% have 1.22
PRIOR_AT_UNIFORM = 0.1  # a prior whose every probability is within this, relative to 1/K, has not left uniform
SIZES_UNEVEN = 0.5  # cluster sizes of which one is further than this from 1/K, relative to it, are uneven
# Half the sum of the absolute differences of prior and cluster sizes, above which they disagree: of the images, this
# share would have to change class. It is 0.01 to 0.05 in the runs whose prior.json bench/results keeps.
PRIOR_DISAGREES = 0.15
STOPPED_EARLY = "The run stopped early"  # the title of that finding
DISCRIMINATOR_WON = 0.1  # mean d_loss below which the generator learns little more; 1.39 is a draw
ONE_IMAGE = 0.33  # samples this close to each other, relative to the code's real images, count as one image
AGREE, DISAGREE = 0.8, 0.4  # adjusted Rand index above, or below, which two runs agree, or do not; a rule of thumb


@dataclass(frozen=True)
class Facts:
    """The figures that the findings are based on.

    prior_K, sizes_K: probabilities and shares of the real images; spreads_K: mean pairwise distance of a code's
    samples, relative to that of its real images (NaN where unknown); last_d_loss: the last logged mean; of_groups: what
    was found of the groups of real images (what they follow, how far they can be trusted, which classes they mix).
    """

    prior_K: Tensor
    sizes_K: Tensor
    prior_is_learned: bool
    images_seen: int
    images_planned: int
    merge: Sequence[MergeCandidate] = ()
    last_d_loss: float | None = None
    spreads_K: Sequence[float] = field(default=())
    of_groups: Sequence[Finding] = ()


def collapsed(prior_K: Tensor, sizes_K: Tensor) -> str:
    """A sentence on how the codes have collapsed into one or two; empty where they have not.

    They have when only one code is used (by at least a tenth of 1/K of the real images), or two of more than four; or
    when the effective number of classes, exp(entropy), of the clusters or of the prior is below NEAR_ONE.

    Args:
        prior_K, sizes_K: probabilities, and shares of the real images.
    """
    count, unused = len(sizes_K), set(unused_codes(sizes_K))
    used = [code for code in range(count) if code not in unused]
    if len(used) == 1 or (len(used) == 2 and count > 4):
        share, named = float(sizes_K[used].sum()), " or ".join(map(str, used))
        return f"{share:.1%} of the real images have code {named}, of {count} codes."
    for subject, shares_K in (("Q's clusters amount", sizes_K), ("The prior amounts", prior_K)):
        if (effective := effective_classes(shares_K)) < NEAR_ONE:
            return f"{subject} to {effective:.2f} equally frequent classes."
    return ""


def hardly_trained(prior_K: Tensor, sizes_K: Tensor, images_seen: int, images_planned: int) -> Finding | None:
    """Why a run's classes are not reliable yet; None for a run that has trained.

    It has seen fewer than FEW_SHOWN = 64,000 images, a fifth of the 320,000 that a run shows by default (schedule.py),
    or it has collapsed after any number of images: see `collapsed`.
    """
    few, how = images_seen < FEW_SHOWN, collapsed(prior_K, sizes_K)
    if not few:
        again = (
            "Train again from another starting point (another --seed); if it collapses again, with fewer groups (fewer "
            "--classes) or longer (more --epochs)."
        )
        seed = [Advice(Action.SEED, again)]
        return Finding("Hardly trained: the codes have collapsed", how, advice=seed, first=True) if how else None
    seen = f"{images_seen:,}" + (f" of {images_planned:,} planned" if images_seen < images_planned else "")
    text = f"It has been shown {seen} images; below {FEW_SHOWN:,} the figures mean little, and samples may be grey."
    if images_seen < images_planned and images_planned >= FEW_SHOWN:
        advice = Advice(Action.CONTINUE)
    else:
        advice = Advice(
            Action.LONGER,
            "Train for longer (--resume with more --epochs); with your own images, better start again without naming a "
            f"length (leave out --epochs): a run then shows {SHOWN:,}, and groups them when it has seen enough.",
        )
    return Finding("Hardly trained", f"{text} {how}".rstrip(), advice=[advice], first=True)


def last_mean(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    """The last value of `key` in the rows of metrics.jsonl, None where there is none."""
    return next((float(row[key]) for row in reversed(rows) if row.get(key) is not None), None)


def agreement(ari: float) -> str:
    """What the adjusted Rand index of two runs means, in a sentence."""
    if ari >= AGREE:
        return "High agreement: both runs find nearly the same classes, which are in the data, not a matter of chance."
    if ari < DISAGREE:
        return "Low agreement: the classes are a matter of chance; try another --classes, or more --epochs."
    return "Agreement in part: some classes are in the data, others a matter of chance; try another --classes."


def findings(facts: Facts) -> list[Finding]:
    """What looks wrong in a run, the worst first; empty where nothing does.

    For a run that is hardly trained, its consequences are left out: unused codes, codes that Q confuses and a prior
    that is not that of the images; where too few images were shown, also samples that are all alike, and the early
    stop, which the first finding already mentions. What was found of its groups is left out as well.
    """
    hardly = hardly_trained(facts.prior_K, facts.sizes_K, facts.images_seen, facts.images_planned)
    checks = [_stopped_early, _discriminator_won, _one_image, _unused, _confused, _prior]
    if hardly is not None:
        checks = [_discriminator_won] if facts.images_seen < FEW_SHOWN else checks[:3]
    of_groups = facts.of_groups if hardly is None else ()
    found = [hardly, *of_groups, *(check(facts) for check in checks)]
    return [finding for finding in found if finding is not None]


def _stopped_early(facts: Facts) -> Finding | None:
    if facts.images_seen >= facts.images_planned:
        return None
    return Finding(
        STOPPED_EARLY,
        f"It has seen {facts.images_seen:,} of {facts.images_planned:,} images.",
        advice=[Advice(Action.CONTINUE)],
        first=True,
    )


def _discriminator_won(facts: Facts) -> Finding | None:
    loss = facts.last_d_loss
    if loss is None or loss >= DISCRIMINATOR_WON:
        return None
    return Finding(
        "The discriminator has won",
        f"Its last mean loss is {loss:.3f}, below {DISCRIMINATOR_WON}: it tells every generated image from a real one, "
        "and the generator learns little more.",
        advice=[Advice(Action.RATE)],
        first=True,
    )


def _one_image(facts: Facts) -> Finding | None:
    codes = [k for k, spread in enumerate(facts.spreads_K) if math.isfinite(spread) and spread < ONE_IMAGE]
    if not codes:
        return None
    one = len(codes) == 1
    named = f"For group {codes[0]}" if one else f"For each of groups {words(codes)}"
    return Finding(
        "The model makes one image again and again",
        f"{named} it makes images whose mean pairwise distance in pixels is below {ONE_IMAGE} times that of the real "
        "ones.",
        advice=[Advice(Action.LONGER), Advice(Action.SEED)],
    )


def _unused(facts: Facts) -> Finding | None:
    codes, count = unused_codes(facts.sizes_K), len(facts.sizes_K)
    if not codes:
        return None
    left = max(2, count - len(codes))
    fewer = Advice(Action.FEWER, classes=left, empty=True)
    return Finding(
        "Groups that stay empty" if len(codes) > 1 else "A group that stays empty",
        f"Q gives group{'s' if len(codes) > 1 else ''} {words(codes)} less than {UNUSED_SHARE:.0%} of an even share of "
        f"the real images (below {UNUSED_SHARE / count:.2%} of them).",
        advice=[fewer if left < count else Advice(Action.LONGER)],
    )


def _confused(facts: Facts) -> Finding | None:
    if not facts.merge:
        return None
    pairs = [f"{pair.first} and {pair.second} ({pair.confusion:.2f})" for pair in facts.merge[:6]]
    more = f", and {pluralize(len(facts.merge) - 6, 'more pair')}" if len(facts.merge) > 6 else ""
    # Codes linked through pairs are one group: every code of a group but one is a class too many.
    group_K = merged(facts.merge, len(facts.sizes_K))
    left = max(2, len(set(group_K)))
    sets = [[k for k, own in enumerate(group_K) if own == group] for group in sorted(set(group_K))]
    advice = [Advice(Action.JOIN, groups=[each for each in sets if len(each) > 1])]
    advice += [Advice(Action.FEWER, classes=left)] if left < len(facts.sizes_K) else []
    return Finding(
        "Groups are hard to tell apart" if len(facts.merge) > 1 else "Two groups are hard to tell apart",
        f"Groups {'; '.join(pairs)}{more}: Q confuses them (above {CONFUSED:.3g}) on transforms of real images, where "
        "0.5 is as good as one group.",
        advice=advice,
    )


def _prior(facts: Facts) -> Finding | None:
    return prior_off(facts.prior_K, facts.sizes_K) if facts.prior_is_learned else None


def prior_off(prior_K: Tensor, sizes_K: Tensor) -> Finding | None:
    """How a learned prior differs from the shares of the real images by Q's code; None where it does not clearly.

    It is still at uniform while the shares are uneven (PRIOR_AT_UNIFORM, SIZES_UNEVEN), or their total variation
    distance is above PRIOR_DISAGREES.

    Args:
        prior_K, sizes_K: probabilities, and shares of the real images, on the CPU.
    """
    prior_K, sizes_K, count = prior_K.double(), sizes_K.double(), len(prior_K)
    advice = [
        Advice(
            Action.READ,
            "Take the groups' shares of the images as how frequent they are, not the probabilities that were learned. "
            "In a new run these follow more closely with a stronger pull (--prior-pull, or --prior-learning-rate).",
        )
    ]
    flat = float((prior_K * count - 1).abs().max()) <= PRIOR_AT_UNIFORM
    if flat and float((sizes_K * count - 1).abs().max()) > SIZES_UNEVEN:
        return Finding(
            "The prior is still at uniform",
            f"Every learned probability is within {PRIOR_AT_UNIFORM:.0%} of 1/{count}, while Q's clusters hold from "
            f"{float(sizes_K.min()):.1%} to {float(sizes_K.max()):.1%} of the real images.",
            advice=advice,
        )
    apart_K = (prior_K - sizes_K).abs()
    if (distance := float(apart_K.sum()) / 2) <= PRIOR_DISAGREES:
        return None
    code = int(apart_K.argmax())
    return Finding(
        "The prior and the images disagree",
        f"The learned probabilities and the shares of the real images that Q gives each code are {distance:.1%} apart "
        f"(half the sum of their differences; above {PRIOR_DISAGREES:.0%} they disagree), most at group {code}: "
        f"probability {float(prior_K[code]):.1%}, {float(sizes_K[code]):.1%} of the images.",
        advice=advice,
    )
