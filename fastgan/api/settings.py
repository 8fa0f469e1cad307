"""A run's settings from an estimator's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fastgan.config.command_line import FREE_ON_RESUME, differences
from fastgan.config.presets import derived, preset
from fastgan.config.schema import TrainConfig
from fastgan.config.validation import validate
from fastgan.errors import ConfigError

# Settings that an estimator names as scikit-learn does, or decides itself.
RENAMED = {"n_classes": "classes", "random_state": "seed", "transforms": "transform"}
OWN = {"dataset", "data_dir", "run_dir", "resume", "dry_run", "imbalance", "labels_from_folders", "split", "skip_bad"}
OWN |= {"identities", "frame_stride", "emnist_split", "resume_on_other_ranks", "sync_batchnorm", "rank_timeout"}


def config_of(parameters: Mapping[str, Any], recipe: str, base: str, **own: Any) -> TrainConfig:
    """The validated settings of a run.

    Args:
        parameters: of the estimator; None leaves a setting at its default. Nested settings are dictionaries.
        recipe: default or paper.
        base: whose defaults to take: a name of `--dataset`.
        own: settings that no parameter gives.

    Raises:
        ConfigError: naming the setting as the command line does.
        TypeError: for an unknown nested setting.
    """
    config = preset(base, recipe)
    chosen: dict[str, Any] = {}
    for name, value in parameters.items():
        if value is None:
            continue
        setting = RENAMED.get(name, name)
        nested = isinstance(value, Mapping)
        chosen[setting] = dataclasses.replace(getattr(config, setting), **value) if nested else value
    config = dataclasses.replace(config, **chosen, **own)
    given = {setting for setting, value in chosen.items() if not dataclasses.is_dataclass(value)}
    given |= {f"transform.{name}" for name in parameters.get("transforms") or ()}
    config = derived(config, given.__contains__)
    return validate(config)


def resumed(config: TrainConfig, saved: TrainConfig) -> TrainConfig:
    """The settings with which a run goes on: those that it was saved with, and the number of epochs of `config`.

    Raises:
        ConfigError: for settings of `config` that differ, but for those that the number of images decides.
    """
    free = FREE_ON_RESUME | {"dataset", "pretrain_epochs", "grouping", "transform"}
    if changed := differences(config, saved, free):
        words = ", ".join(f"{name} (was {value})" for name, value in changed.items())
        raise ConfigError(f"resume: {words} must stay as in {config.run_dir}/run.json; or start a new run")
    own = {name: getattr(config, name) for name in ("run_dir", "data_dir", "device", "threads")}
    return dataclasses.replace(saved, epochs=config.epochs or saved.epochs, resume=True, **own)
