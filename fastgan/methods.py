"""The variants that the paper compares (arXiv 1910.01112, section 4), by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastgan.config import TrainConfig
from fastgan.errors import ConfigError

CONTRASTIVE_WEIGHT = 10.0
# name -> prior, contrastive loss
METHODS: dict[str, dict[str, Any]] = {
    "uniform": {"prior": "uniform", "contrastive_weight": 0.0},
    "ground-truth": {"prior": "true", "contrastive_weight": 0.0},
    "gumbel-softmax": {"prior": "learned", "contrastive_weight": 0.0},
    "ground-truth-contrastive": {"prior": "true", "contrastive_weight": CONTRASTIVE_WEIGHT},
    "elastic": {"prior": "learned", "contrastive_weight": CONTRASTIVE_WEIGHT},
}


def with_method(config: TrainConfig, method: str) -> TrainConfig:
    """`config` as this variant has it."""
    return dataclasses.replace(config, **METHODS[method])


def parse_methods(text: str) -> list[str]:
    """ "all", or names with commas between them, in the order of METHODS; raises ConfigError for another name."""
    if text == "all":
        return list(METHODS)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in METHODS:
            raise ConfigError(f"--methods {name}: not known; choose all, or some of {', '.join(METHODS)}")
    return [name for name in METHODS if name in names]


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
