"""Settings through run.json and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fastgan.config.schema import GroupingConfig, NetworkConfig, TrainConfig, TransformConfig
from fastgan.errors import ConfigError

T = TypeVar("T", TrainConfig, GroupingConfig, NetworkConfig, TransformConfig)


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
            values[name] = _checked(kind(**inner))
        for name in ("data_dir", "run_dir"):
            values[name] = None if values[name] is None else Path(values[name])
        if values.get("cache_dir") is not None:
            values["cache_dir"] = Path(values["cache_dir"])
        return _checked(TrainConfig(**values))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"run.json: settings cannot be read ({error}); it was written by another version") from error


def _checked(settings: T) -> T:
    """The same settings, or TypeError naming one whose value is of another type: a dataclass takes anything."""
    hints = get_type_hints(type(settings))
    for part in dataclasses.fields(settings):
        value = getattr(settings, part.name)
        if not _is(value, hints[part.name]):
            raise TypeError(f"{part.name} is {value!r}")
    return settings


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type that a setting has."""
    if get_origin(kind) is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return any(_is(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return len(value) == len(kinds) and all(map(_is, value, kinds))
    if kind is float:  # JSON may write 1.0 as 1
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
