"""Settings to run.json and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fastgan.config.schema import GroupingConfig, NetworkConfig, TrainConfig, TransformConfig
from fastgan.errors import ConfigError
from fastgan.text import encodable, unescaped

OTHER_VERSION = "it was written by another version of fastgan: use that one, or train again"
T = TypeVar("T", TrainConfig, GroupingConfig, NetworkConfig, TransformConfig)


def to_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as plain JSON values; paths that are no UTF-8 are escaped (`fastgan.text.encodable`)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return encodable(str(value)) if isinstance(value, Path) else value

    result: dict[str, Any] = plain(dataclasses.asdict(config))
    return result


def from_json(values: dict[str, Any], source: str = "run.json") -> TrainConfig:
    """The inverse of `to_json`; raises ConfigError for settings that are unknown, missing or of another type.

    Args:
        source: the file that the values are from, for messages.
    """
    values = dict(values)
    nested = {"grouping": GroupingConfig, "transform": TransformConfig, "network": NetworkConfig}
    known = {f.name for f in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"{source}: unknown settings {', '.join(unknown)}; {OTHER_VERSION}")
    try:
        for name, kind in nested.items():
            inner = dict(values[name])
            inner |= {key: tuple(inner[key]) for key in ("zoom", "at", "keep") if key in inner}
            values[name] = _check_types(kind(**inner))
        values.setdefault("cache_dir", None)  # older runs lack it
        for name in ("data_dir", "run_dir", "cache_dir"):
            values[name] = None if values[name] is None else Path(unescaped(values[name]))
        if isinstance(values.get("intensity_range"), list):
            values["intensity_range"] = tuple(values["intensity_range"])
        return _check_types(TrainConfig(**values))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{source}: settings cannot be read ({error}); {OTHER_VERSION}") from error


def _check_types(settings: T) -> T:
    """Return `settings`, or raise TypeError naming a value of the wrong type: dataclasses do not check."""
    hints = get_type_hints(type(settings))
    for part in dataclasses.fields(settings):
        value = getattr(settings, part.name)
        if not has_type(value, hints[part.name]):
            raise TypeError(f"{part.name} is {value!r}")
    return settings


def has_type(value: Any, kind: Any) -> bool:
    """Whether a value is of a setting's annotated type."""
    if get_origin(kind) is Literal:
        return any(value == each and type(value) is type(each) for each in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return any(has_type(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = get_args(kind)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return len(value) == len(kinds) and all(map(has_type, value, kinds))
    if kind is float:  # JSON may hold 1 for 1.0; a huge or infinite number is no setting
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
