"""Settings through run.json and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fastgan.config import GroupingConfig, NetworkConfig, TrainConfig, TransformConfig
from fastgan.errors import ConfigError


def to_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as plain JSON values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result


def from_json(values: dict[str, Any]) -> TrainConfig:
    """The inverse of `to_json`; raises ConfigError for settings that this version does not know."""
    values = dict(values)
    nested = {"grouping": GroupingConfig, "transform": TransformConfig, "network": NetworkConfig}
    known = {f.name for f in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"run.json: unknown settings {', '.join(unknown)}; it was written by another version")
    try:
        for name, kind in nested.items():
            inner = dict(values[name])
            inner |= {key: tuple(inner[key]) for key in ("zoom", "at") if key in inner}
            values[name] = kind(**inner)
        for name in ("data_dir", "run_dir"):
            values[name] = None if values[name] is None else Path(values[name])
        return TrainConfig(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"run.json: settings cannot be read ({error}); it was written by another version") from error
