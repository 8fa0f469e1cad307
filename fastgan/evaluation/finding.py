"""What was found wrong in a run: in words, with the images that show it, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Shown:
    """Real images, by index, that a finding is shown with, and a line about them.

    drawn: a code whose generated images are shown after them, None for none.
    """

    caption: str
    images: Sequence[int]
    drawn: int | None = None


class Action(Enum):
    """Kinds of advice, and their sentence: words first, the flag in parentheses."""

    RATE = (
        "Train again with a lower learning rate (--learning-rate) or from another starting point (another --seed); "
        "with few images, with a narrower network (a smaller --network.width)."
    )
    CONTINUE = "Let the run go on to its end (train with --resume, and this folder as --run-dir)."
    READ = "Take the groups' shares of the images as how frequent they are."
    JOIN = "Read groups that show the same as one."
    EVEN_OUT = "Make the images more alike in what does not matter."
    MORE = "Train again with more groups (more --classes)."
    FEWER = "Train again with fewer groups (fewer --classes)."
    OTHER_NUMBER = "Try other numbers of groups, fewer and more (--classes)."
    LONGER = "Train for longer (more --epochs)."
    SEED = "Train again from another starting point (another --seed)."
    SECOND = (
        "Train a second run from another starting point (another --seed) and compare the two (fastgan.page with "
        "--beside): what both find is in the images."
    )


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    text: instead of the action's own sentence; classes: how many groups, of MORE and FEWER; empty: of FEWER, that the
    others have no images; groups: sets of groups that may show the same, of JOIN.
    """

    action: Action
    text: str = ""
    classes: int | None = None
    empty: bool = False
    groups: Sequence[Sequence[int]] = ()

    @property
    def sentence(self) -> str:
        """It in words, the flag in parentheses."""
        if self.text:
            return self.text
        if self.classes is not None and self.action in (Action.MORE, Action.FEWER):
            word = "more" if self.action is Action.MORE else "fewer"
            return f"Train again with {word} groups, for example {self.classes} (--classes {self.classes})."
        return self.action.value


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong, in words, and images that show it.

    check: what to look at or to keep in mind, a sentence or empty. advice: what helps, the best first. first:
    everything else depends on it, and has to wait. of_all: it speaks of the groups as a whole.
    """

    title: str
    text: str
    check: str = ""
    advice: Sequence[Advice] = ()
    shown: Sequence[Shown] = ()
    first: bool = False
    of_all: bool = False

    @property
    def remedy(self) -> str:
        """What to check and to do, for a reader of this finding alone."""
        told = [self.check, *(each.sentence for each in self.advice[:1])]
        told += [f"If that does not help: {each.sentence}" for each in self.advice[1:2]]
        return " ".join(part for part in told if part)
