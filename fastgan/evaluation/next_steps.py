"""What to do next: the advice of all findings as one list, in which none contradicts another.

Findings know nothing of each other: one asks for more groups where another asks for fewer. The rules:

1. What everything else depends on comes first, and alone: a training that has failed, then a run that is not at its end
   or has hardly begun. The other advice waits until the page is written again.
2. What needs no training comes before what does: looking, and reading groups as one.
3. A new run changes one thing, or nobody knows what has helped: the images before the number of groups, this before the
   length, this before the starting point. What comes later is only for the case that it is still needed.
4. Of more and fewer groups, more: groups that show the same can be read as one, a mixture cannot be taken apart.
5. But not more where groups are left empty: there was room, so another starting point takes its place.
6. At the end a second run from another starting point, unless there is one, to compare with; and the groups' names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastgan.evaluation.finding import Action, Advice, Finding
from fastgan.text import words

# Changes of a new run, in the order in which they are tried.
CHANGES = (Action.EVEN_OUT, Action.MORE, Action.FEWER, Action.OTHER_NUMBER, Action.LONGER, Action.SEED)
BROKEN = (Action.RATE, Action.CONTINUE, Action.LONGER, Action.SEED)  # of findings that come first
MOST_PAIRS = 6  # sets of groups that may be one, that are named
LOOK = "Look at the pictures under “What to look at”, and judge for yourself: each says what to check."
RULES = (
    "What everything depends on comes first. Looking comes before training. A new run changes one thing: first the "
    "images, then how many groups, then how long, then the starting point. Where one finding speaks for more groups "
    "and another for fewer, more are tried: groups that show the same can be read as one, a mixture cannot be taken "
    "apart. Where groups stay empty there was room, and another starting point is tried instead."
)


@dataclass(frozen=True)
class Step:
    """One thing to do, in words, and the titles of the findings that ask for it."""

    text: str
    because: Sequence[str] = ()


def next_steps(findings: Sequence[Finding], *, compared: bool = False) -> list[Step]:
    """The steps in their order, at least one.

    Args:
        compared: whether a second run has been looked at.
    """
    if waiting := [each for each in findings if each.first]:
        return _first(waiting)
    checked = tuple(each.title for each in findings if each.check)
    steps = [Step(LOOK, checked)] if checked else []
    steps += _together(findings)
    steps += [Step(text, because) for text, because in _of(findings, Action.READ)]
    changes = _changes(findings)
    asked = _titles(_asking(findings, Action.SECOND))
    if not compared and Action.SEED in changes:  # one run from another starting point serves both
        asked = tuple(dict.fromkeys((*changes.pop(Action.SEED)[1], *asked)))
    for place, (text, because) in enumerate(changes.values()):
        steps.append(Step(text if not place else f"If it is still needed then: {text[0].lower()}{text[1:]}", because))
    if not compared:
        steps.append(Step(Action.SECOND.value, asked))
    last = "Give the groups names, and look through the least sure pictures of each."
    return [*steps, Step(last if not changes else f"Once you trust the groups: {last[0].lower()}{last[1:]}")]


def _first(waiting: Sequence[Finding]) -> list[Step]:
    """The one thing that everything depends on."""
    for action in BROKEN:
        for text, because in _of(waiting, action):
            return [Step(text, because), Step("Then look at this page again: all else depends on it.")]
    return [Step("Look at this first, and at all else later.", tuple(each.title for each in waiting))]


def _together(findings: Sequence[Finding]) -> list[Step]:
    """The sets of groups that may show the same, in one step."""
    because, sets = list[str](), dict[tuple[int, ...], None]()
    for finding in findings:
        for advice in finding.advice:
            if advice.action is Action.JOIN:
                because.append(finding.title)
                sets |= dict.fromkeys(tuple(sorted(each)) for each in advice.groups)
    if not sets:
        return []
    named = [words(list(each)) for each in sets][:MOST_PAIRS]
    more = f" (and {len(sets) - MOST_PAIRS} more sets)" if len(sets) > MOST_PAIRS else ""
    which = f"groups {'; '.join(named)}{more}"
    text = f"Compare {which}: where they show the same, say so under “Same as” below their pictures."
    return [Step(text, tuple(dict.fromkeys(because)))]


def _changes(findings: Sequence[Finding]) -> dict[Action, tuple[str, tuple[str, ...]]]:
    """What to change in a new run, one thing a run, in their order, after rules 4 and 5, and what asks for it."""
    wanted = {action: _asking(findings, action) for action in CHANGES}
    if wanted[Action.MORE]:
        if any(advice.empty for _, advice in wanted[Action.FEWER]):
            seed = Advice(Action.SEED)
            wanted[Action.SEED] = [(title, seed) for title, _ in wanted[Action.MORE]] + wanted[Action.SEED]
            wanted[Action.MORE] = []
        wanted[Action.FEWER] = []
        wanted[Action.OTHER_NUMBER] = []
    elif wanted[Action.FEWER]:
        wanted[Action.OTHER_NUMBER] = []
    return {
        action: (_merged(action, [advice for _, advice in asking]), _titles(asking))
        for action, asking in wanted.items()
        if asking
    }


def _merged(action: Action, advice: Sequence[Advice]) -> str:
    """One sentence for the same action of several findings: the most groups of MORE, the fewest of FEWER."""
    numbers = [each.classes for each in advice if each.classes is not None]
    if action in (Action.MORE, Action.FEWER) and numbers:
        number = max(numbers) if action is Action.MORE else min(numbers)
        return Advice(action, classes=number).sentence
    texts = list(dict.fromkeys(each.sentence for each in advice))
    return " ".join(texts) if action is Action.EVEN_OUT else texts[0]


def _asking(findings: Sequence[Finding], action: Action) -> list[tuple[str, Advice]]:
    return [(each.title, one) for each in findings for one in each.advice if one.action is action]


def _titles(asking: Sequence[tuple[str, Advice]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(title for title, _ in asking))


def _of(findings: Sequence[Finding], action: Action) -> list[tuple[str, tuple[str, ...]]]:
    """The action's sentence, if it is asked for, and the titles of the findings that do."""
    asking = _asking(findings, action)
    return [(_merged(action, [advice for _, advice in asking]), _titles(asking))] if asking else []
