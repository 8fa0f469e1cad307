"""A run's settings from an estimator's parameters."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from fastgan.config.presets import PRESETS, RECIPES, derived, preset
from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import has_type
from fastgan.config.train_command import FREE_ON_RESUME, differences
from fastgan.config.validation import validate
from fastgan.errors import ConfigError

# Settings that an estimator names as scikit-learn does, or decides itself.
RENAMED = {"n_classes": "classes", "random_state": "seed", "transforms": "transform"}
OWN = {"dataset", "data_dir", "run_dir", "resume", "dry_run", "imbalance", "split"}
OWN |= {"identities", "frame_stride", "emnist_split", "resume_on_other_ranks", "sync_batchnorm", "rank_timeout"}
WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", Path: "a path"}


def config_of(parameters: Mapping[str, Any], recipe: str, base: str, **own: Any) -> TrainConfig:
    """The validated settings of a run.

    Args:
        parameters: of the estimator; None leaves a setting at its default. Nested settings are dictionaries.
        recipe: default or paper.
        base: whose defaults to take: a name of `--dataset`.
        own: settings that no parameter gives.

    Raises:
        ConfigError: naming the setting, of which those that validate.py refuses are named as on the command line.
    """
    config = preset(base, recipe)
    chosen = {
        RENAMED.get(name, name): _checked(config, name, value)
        for name, value in parameters.items()
        if value is not None
    }
    config = dataclasses.replace(config, **chosen, **own)
    given = {setting for setting, value in chosen.items() if not dataclasses.is_dataclass(value)}
    given |= {f"transform.{name}" for name in parameters.get("transforms") or ()}
    config = derived(config, given.__contains__)
    return validate(config)


def check_base(base: Any, recipe: Any) -> None:
    """Raise ConfigError for a `preset` or a `recipe` that is none."""
    for name, value, known in (("preset", base, PRESETS), ("recipe", recipe, RECIPES)):
        if value not in known:
            raise ConfigError(f"{name} {value!r}: not known; choose one of {', '.join(map(repr, known))}")


def _checked(config: TrainConfig, name: str, value: Any) -> Any:
    """The value of a parameter as a setting; a dictionary as the dataclass of nested settings."""
    setting = RENAMED.get(name, name)
    default, kinds = getattr(config, setting), get_type_hints(TrainConfig)
    if not dataclasses.is_dataclass(default):
        return as_setting(name, value, kinds[setting])
    known = get_type_hints(type(default))
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} {value!r}: must be a dictionary, with some of {', '.join(map(repr, known))}")
    for inner in value:
        if inner not in known:
            raise ConfigError(f"{name}[{inner!r}]: not known; choose one of {', '.join(map(repr, known))}")
    checked = {inner: as_setting(f"{name}[{inner!r}]", given, known[inner]) for inner, given in value.items()}
    return dataclasses.replace(default, **checked)  # type: ignore[type-var]


def as_setting(name: str, value: Any, kind: Any) -> Any:
    """A parameter's value as run.json can hold it; raises ConfigError for one of another type than `kind`."""
    plain = value.item() if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0 else value
    if isinstance(plain, (list, tuple, range, np.ndarray)):
        plain = tuple(each.item() if isinstance(each, np.generic) else each for each in plain)
    if Path in (kind, *get_args(kind)) and isinstance(plain, (str, os.PathLike)):
        plain = Path(plain)
    if not has_type(plain, kind):
        raise ConfigError(f"{name} {value!r}: must be {' or '.join(_words(kind))}")
    return plain


def _words(kind: Any) -> list[str]:
    """What a setting may be."""
    if get_origin(kind) is Literal:
        return [repr(value) for value in get_args(kind)]
    if get_origin(kind) in (Union, UnionType):
        return [words for each in get_args(kind) if each is not NoneType for words in _words(each)]
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        what = _words(inner[0])[0].split(" ", 1)[-1] + "s"
        return [f"a sequence of {what}" if inner[-1] is Ellipsis else f"{len(inner)} {what}"]
    return [WORDS[kind]]


def resumed(config: TrainConfig, saved: TrainConfig) -> TrainConfig:
    """The settings with which a run goes on: those that it was saved with, and the number of epochs of `config`.

    Raises:
        ConfigError: for settings of `config` that differ, but for those that the number of images decides.
    """
    free = FREE_ON_RESUME | {"dataset", "pretrain_epochs", "grouping", "transform"}
    if changed := differences(config, saved, free):
        words = ", ".join(f"--{name} (was {value})" for name, value in changed.items())
        raise ConfigError(f"resume: {words} must stay as in {config.run_dir}/run.json; or start a new run")
    own = {name: getattr(config, name) for name in ("run_dir", "data_dir", "device", "threads")}
    return dataclasses.replace(saved, epochs=config.epochs or saved.epochs, resume=True, **own)
