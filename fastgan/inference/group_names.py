"""Names that a person has given to the groups of a run, and the folders that files are sorted into by them.

names.json, which report.html writes: {"classes": K, "names": {"0": "eight", "3": "eight", "4": "one"}}. Groups with the
same name count as one. "classes" may be left out, and so may groups.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastgan.errors import ConfigError
from fastgan.inference.sorted_before import LIST
from fastgan.text import printable

LONGEST = 100  # letters of a name
FOLDER_BYTES = 240  # of a folder's name, so that a number still fits behind it
LARGEST = 10_000_000  # bytes of a file of names
# What Windows, or a shell, would not take in a folder's name: also there the sorted files are to be read.
_UNFIT = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_CLASS = re.compile(r"class-[0-9]+")


def read_names(path: Path, classes: int) -> dict[int, str]:
    """The name of each group that has one.

    Args:
        classes: K of the run.

    Raises:
        ConfigError: the file cannot be read, or is not as described above.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.stat().st_size:,} bytes are too many")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"--names {path}: cannot be read ({error.strerror or error}); name the names.json of the run's report.html"
        ) from error
    except (ValueError, RecursionError) as error:
        cause = " ".join(str(error).split())
        raise ConfigError(
            f"--names {path}: is no JSON ({cause}); save names.json from the run's report.html again"
        ) from error
    try:
        return _checked(values, classes)
    except ValueError as error:
        raise ConfigError(f"--names {path}: {error}") from error


def _checked(values: Any, classes: int) -> dict[int, str]:
    """Raises ValueError with a sentence and its remedy."""
    named = values.get("names") if isinstance(values, dict) else None
    if not isinstance(named, dict):
        raise ValueError('has no "names"; it is to look like {"names": {"0": "round cell", "3": "debris"}}')
    if values.get("classes", classes) != classes:
        raise ValueError(
            f"is of a run with {printable(str(values['classes']))} classes, this one has {classes}; download "
            "names.json from this run's report.html"
        )
    found = {}
    for key, name in named.items():
        if not re.fullmatch("[0-9]{1,9}", key) or int(key) >= classes:
            raise ValueError(f"names class {printable(key)!r}, the classes are 0 to {classes - 1}; correct the number")
        text = unicodedata.normalize("NFC", name).strip() if isinstance(name, str) else ""
        if not 0 < len(text) <= LONGEST:
            raise ValueError(f"the name of class {key} is no text of 1 to {LONGEST} letters; shorten or remove it")
        found[int(key)] = text
    return found


def folder_names(names: Mapping[int, str], classes: int) -> dict[int, str]:
    """The folder of each class: made of its name or, where it has none, class-KK.

    Classes with the same name share a folder. What does not fit in a folder's name becomes an underscore; names that
    would be the same folder then, even where case is ignored, get a number.
    """
    found = {code: f"class-{code:02d}" for code in range(classes) if code not in names}
    taken = {_folded(each) for each in (*found.values(), LIST)}
    by_name: dict[str, str] = {}
    for code, name in sorted(names.items()):
        if name not in by_name:
            plain = folder = _fit(name)
            number = 2
            while _folded(folder) in taken:
                folder, number = f"{plain}-{number}", number + 1
            taken.add(_folded(folder))
            by_name[name] = folder
        found[code] = by_name[name]
    return found


def _fit(name: str) -> str:
    """A name as a folder's, on every system."""
    folder = _UNFIT.sub("_", name)
    while len(os.fsencode(folder)) > FOLDER_BYTES:
        folder = folder[:-1]
    folder = folder.rstrip(" .") or "_"
    # A leading dot hides a folder; class-KK is the folder of a class without a name.
    return f"_{folder}" if folder.startswith(".") or _RESERVED.fullmatch(folder) or _CLASS.fullmatch(folder) else folder


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
