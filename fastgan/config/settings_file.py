"""Settings from a file, under the names that run.json has: `train --config FILE`, and what --dry-run prints.

A file may hold some of them only. It is JSON, or YAML where its name ends in .yaml or .yml and PyYAML is installed.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import has_type, to_json
from fastgan.errors import ConfigError
from fastgan.text import unescaped

T = TypeVar("T")
YAML = (".yaml", ".yml")
# What a command line asks for once, and is no setting of a run.
ONLY_FLAGS = ("resume", "resume_on_other_ranks", "dry_run")


def as_text(config: TrainConfig) -> str:
    """The settings as a file for `read`."""
    return json.dumps(to_json(config) | dict.fromkeys(ONLY_FLAGS, False), indent=1)


def read(path: Path, flag: str = "--config") -> dict[str, Any]:
    """The settings in a file, by name; those of run.json, if it is one. They are checked by `changed`.

    Raises:
        ConfigError: it cannot be read, or holds no settings.
    """
    in_yaml = path.suffix.lower() in YAML
    load = _yaml(path, flag) if in_yaml else json.loads
    try:
        values = load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{flag} {path}: cannot be read ({error.strerror or error}); name a file that can") from error
    except (ValueError, RecursionError) as error:
        cause = " ".join(str(error).split())
        kind = "YAML" if in_yaml else "JSON"
        raise ConfigError(
            f"{flag} {path}: is not {kind} ({cause}); repair it: python -m fastgan.train --dry-run prints an example"
        ) from error
    if isinstance(values, dict) and isinstance(values.get("settings"), dict) and "environment" in values:
        values = values["settings"]  # a run.json
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f'{flag} {path}: must hold names with their values, such as {{"epochs": 20}}')
    for name in ONLY_FLAGS:
        if values.pop(name, False):
            raise ConfigError(f"{flag} {path}: {name}: is a flag; leave it out, and give --{name.replace('_', '-')}")
    return values


def _yaml(path: Path, flag: str) -> Callable[[str], Any]:
    try:
        import yaml
    except ImportError as error:
        raise ConfigError(f"{flag} {path}: needs PyYAML: pip install pyyaml, or give the settings as JSON") from error

    def load(text: str) -> Any:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error

    return load


def changed(settings: T, values: Mapping[str, Any], source: str, prefix: str = "") -> T:
    """`settings`, a dataclass, with the values of a file.

    Args:
        source: the file, for messages. prefix: of the names, in a dataclass within another.

    Raises:
        ConfigError: for a name that is not known, or a value of another type.
    """
    assert dataclasses.is_dataclass(settings) and not isinstance(settings, type)
    hints, new = get_type_hints(type(settings)), {}
    for name, value in values.items():
        key, hint = f"{prefix}{name}", hints.get(name)
        if hint is None:
            near = difflib.get_close_matches(name.replace("-", "_"), hints, 1)
            meant = f"perhaps you meant {prefix}{near[0]}" if near else "leave it out"
            raise ConfigError(f"{source}: {key}: not known; {meant}")
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: {key}: must hold names with their values")
            new[name] = changed(getattr(settings, name), value, source, f"{key}.")
            continue
        new[name] = _converted(value, hint)
        if not has_type(new[name], hint):
            raise ConfigError(f"{source}: {key}: {json.dumps(value, default=str)} must be {_words(hint)}")
    return dataclasses.replace(settings, **new)


def names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The names of the settings that a file gives, such as epochs and grouping.at."""
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from names(value, f"{prefix}{name}.")


def _converted(value: Any, hint: Any) -> Any:
    """A value of JSON or YAML as the setting's type has it, as far as it is of another."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if isinstance(value, list) and any(get_origin(kind) is tuple for kind in kinds):
        inner = next(get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple)
        return tuple(_converted(item, inner) for item in value)
    if isinstance(value, str) and Path in kinds:
        return Path(unescaped(value))
    if float in kinds and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3, without a point, as a text
        except (ValueError, OverflowError):
            return value
    return value


def _words(hint: Any) -> str:
    """A type, as the end of "must be"."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(json.dumps(each) for each in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_words(kind) for kind in get_args(hint))
    if get_origin(hint) is tuple:
        kind, *rest = get_args(hint)
        many = "a list of " + {int: "whole numbers", float: "numbers"}.get(kind, "texts")
        return many if Ellipsis in rest else f"a list of {len(rest) + 1} numbers"
    kinds = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", type(None): "null"}
    return kinds.get(hint, "a text")
