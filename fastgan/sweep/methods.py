"""The variants that the paper compares (arXiv 1910.01112, section 4), by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from fastgan.config.schema import GroupingConfig, TrainConfig
from fastgan.errors import ConfigError

# name -> prior, whether Q learns from real images (in the paper by the contrastive loss)
METHODS: dict[str, tuple[Literal["learned", "uniform", "true"], bool]] = {
    "uniform": ("uniform", False),
    "ground-truth": ("true", False),
    "gumbel-softmax": ("learned", False),
    "ground-truth-contrastive": ("true", True),
    "elastic": ("learned", True),
}
# Settings of a variant without losses on real images: those losses off, and all that builds on them.
_WITHOUT: dict[str, Any] = {
    "contrastive_weight": 0.0,
    "agreement_weight": 0.0,
    "finer_codes": 0,
    "grouping": GroupingConfig(),
    "prior_pull": 0.0,
}


def with_method(config: TrainConfig, method: str) -> TrainConfig:
    """`config` changed to this variant."""
    prior, on_real = METHODS[method]
    return dataclasses.replace(config, prior=prior, **({} if on_real else _WITHOUT))


def parse_methods(text: str) -> list[str]:
    """ "all", or names with commas between them, in the order of METHODS; raises ConfigError for any other name."""
    return parse_names("methods", text, METHODS)


def parse_names(flag: str, text: str, known: Iterable[str]) -> list[str]:
    """ "all", or names with commas, in the order of `known`; raises ConfigError naming the flag for another name."""
    known = list(known)
    names = known if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise ConfigError(f"--{flag} {name}: not known; choose all, or some of {', '.join(known)}")
    return [name for name in known if name in names]


def parse_numbers(flag: str, text: str, least: int, most: int | None) -> list[int]:
    """ "1-3,7" as [1, 2, 3, 7], each once and in order; raises ConfigError naming the flag."""
    allowed = f"must be numbers and ranges such as 1-3,7, from {least}" + ("" if most is None else f" to {most}")
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"--{flag} {text}: {allowed}")
        low, high = int(first), int(last) if dash else int(first)
        if low > high or low < least or (most is not None and high > most) or high - low > 100_000:
            raise ConfigError(f"--{flag} {text}: {allowed}")
        found |= set(range(low, high + 1))
    return sorted(found)


METHOD_NAMES = {
    "uniform": "uniform InfoGAN",
    "ground-truth": "ground-truth InfoGAN",
    "gumbel-softmax": "Gumbel-Softmax",
    "ground-truth-contrastive": "ground-truth + contrastive",
    "elastic": "Elastic-InfoGAN",
}
"""The methods in the order of the table, and their names there; other methods come last, under their own names."""


def display_name(method: str) -> str:
    """The name that the table shows for a method; unknown methods keep their own."""
    return METHOD_NAMES.get(method, method)
