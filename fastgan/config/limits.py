"""The range of a setting, declared where the setting is: `split: Annotated[int, between(1, 50)] = 1`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(frozen=True)
class Limit:
    """What a value must satisfy, and the words that follow "must be" in the message; NaN satisfies no comparison."""

    words: str
    holds: Callable[[Any], bool]


def at_least(low: int, note: str = "") -> Limit:
    """A finite number, `low` or more; `note` follows in the message."""
    return Limit(("0 or more" if low == 0 else f"at least {low}") + note, lambda value: low <= value < inf)


def at_most(high: int) -> Limit:
    """`high` or less."""
    return Limit(f"at most {high}", lambda value: -inf < value <= high)


def above(low: int, unit: str = "") -> Limit:
    """A finite number above `low`."""
    return Limit(f"above {low}{unit}", lambda value: low < value < inf)


def between(low: float, high: float, unit: str = "") -> Limit:
    """`low` to `high`, both included."""
    return Limit(f"{low} to {high}{unit}", lambda value: low <= value <= high)
