"""The values of --imbalance: names of published class frequencies, and profiles with numbers.

Legend: K real classes.
"""

from __future__ import annotations

import math

from fastgan.config.limits import Limit
from fastgan.errors import ConfigError

LONG_TAILED, COUNTS = "long-tailed", "counts"
NAMES = ("split", "none", "deepdpm", "fmnist-5")
SPLIT_CLASSES = 10  # that the 50 published splits are of


def ratio(text: str) -> float | None:
    """R of `long-tailed:R`, how often the most frequent class is the least frequent one; None for any other value."""
    name, _, number = text.partition(":")
    try:
        value = float(number)
    except ValueError:
        return None
    return value if name == LONG_TAILED and 1 <= value < math.inf else None


def counts(text: str) -> tuple[int, ...] | None:
    """The numbers of `counts:A,B,...`, images of each class; None for any other value."""
    name, _, numbers = text.partition(":")
    parts = [part.strip() for part in numbers.split(",")]
    if name != COUNTS or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        return None
    return tuple(map(int, parts))


def kind(text: str) -> str:
    """The name before the colon."""
    return text.partition(":")[0]


LIMIT = Limit(
    f"one of {', '.join(NAMES)}, long-tailed:R with R of 1 or more (the most frequent class's images to the least "
    "frequent one's), or counts:A,B,... with at least one image of each class",
    lambda text: text in NAMES or ratio(text) is not None or counts(text) is not None,
)


def check_classes(text: str, classes: int, whose: str) -> None:
    """Raise ConfigError for a value of --imbalance that data of K = `classes` classes cannot have.

    Args:
        whose: the data, in words.
    """
    if text == "split" and classes != SPLIT_CLASSES:
        raise ConfigError(
            f"--imbalance split: the published frequencies are of {SPLIT_CLASSES} classes, and {whose} has {classes}; "
            "use --imbalance long-tailed:10, or --imbalance none"
        )
    given = counts(text)
    if given is not None and len(given) != classes:
        raise ConfigError(
            f"--imbalance {text}: {len(given)} given, and {whose} has {classes} classes; give one number for each, in "
            "the order of the classes"
        )
