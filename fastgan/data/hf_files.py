"""The files of a Hugging Face data set on this machine, and its parts, read by package `datasets`.

A folder of save_to_disk; parquet files; or tar files in WebDataset's layout, whose members of one name are one row.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastgan.data import cache
from fastgan.data.classes import is_part
from fastgan.data.scan import unreadable
from fastgan.errors import ConfigError, DataError

TESTS = ("test", "validation", "valid", "val", "dev", "eval", "holdout")  # parts that are held out, the first there is
SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk writes beside the rows
PACKED = (".parquet", ".tar")  # endings of other files with rows
KEPT = "hugging-face"  # the part of the cache for what the library makes of packed files


def library() -> Any:
    """Package `datasets`; raises ConfigError where it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            "--dataset hf: needs the package datasets, which is not installed; pip install datasets"
        ) from error
    return datasets


def read_parts(place: Path, cache_dir: Path | None) -> dict[str, Any]:
    """The parts of a data set by their names.

    Args:
        place: a folder, or one packed file. cache_dir: of the settings.

    Raises:
        ConfigError: package `datasets` is not installed.
        DataError: when there is no data set, or it cannot be read.
    """
    datasets = library()
    if not place.exists():
        raise DataError(f"{place}: no such folder; name the one of save_to_disk, or of parquet or tar files")
    datasets.disable_progress_bars()
    try:
        if any((place / name).exists() for name in SAVED):
            found = datasets.load_from_disk(str(place))
            return dict(found) if isinstance(found, Mapping) else {"train": found}
        files = packed(place)
        kept = cache.place(place, cache_dir, KEPT)
        kept.mkdir(parents=True, exist_ok=True)
        (kept / cache.SOURCE).write_bytes(os.fsencode(place.resolve()) + b"\n")
        return {name: _read(datasets, own, kept) for name, own in files.items()}
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises many kinds; each means that it cannot be read
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{place}: cannot be read as a Hugging Face data set ({cause}); save it again") from error


def _read(datasets: Any, files: list[Path], kept: Path) -> Any:
    """The rows of packed files of one kind."""
    paths = [str(file.resolve()) for file in files]
    if files[0].suffix == ".parquet":
        return datasets.Dataset.from_parquet(paths, cache_dir=str(kept))
    # One of the library's own readers, by its name: nothing is looked up elsewhere.
    return datasets.load_dataset("webdataset", data_files={"train": paths}, split="train", cache_dir=str(kept))


def packed(place: Path) -> dict[str, list[Path]]:
    """The packed files of a folder by the part that their names, or those of their folders, begin with; or one file."""
    if place.is_file():
        if place.suffix not in PACKED:
            raise DataError(f"{place}: neither a folder nor a {' or '.join(PACKED)} file; name one of these")
        return {"train": [place]}
    files = sorted(path for path in place.rglob("*") if path.suffix in PACKED and path.is_file())
    if not files:
        raise DataError(
            f"{place}: no Hugging Face data set, which has state.json, dataset_dict.json, or parquet or tar files; "
            "save one there with save_to_disk or to_parquet"
        )
    kinds = {file.suffix: file for file in files}
    if len(kinds) > 1:
        raise DataError(f"{place}: holds files of two kinds ({', '.join(map(str, kinds.values()))}); keep one of them")
    found: dict[str, list[Path]] = {}
    for file in files:
        words = [file.stem, *reversed(file.relative_to(place).parent.parts)]
        part = next((word.lower() for word in words if is_part(word)), "train")
        name = next((known for known in ("train", *TESTS) if part.startswith(known)), "train")
        found.setdefault(name, []).append(file)
    for name, own in found.items():
        places = sorted({str(file.parent) for file in own})
        if len(places) > 1 and len({file.name for file in own}) < len(own):
            raise DataError(
                f"{place}: holds several data sets ({places[0]} and {places[1]} have files of part {name}); name one "
                "of these folders with --data-dir"
            )
    return found


def training_part(parts: Mapping[str, Any], place: Path) -> Any:
    """The part to train on; raises DataError without one."""
    name = "train" if "train" in parts else next(iter(parts)) if len(parts) == 1 else None
    if name is None:
        raise DataError(f"{place}: none of its parts {', '.join(parts)} is named train; name the folder of one of them")
    if len(parts[name]) == 0:
        raise DataError(f"{place}: its part {name} holds no images; name another folder")
    return parts[name]


def held_out_part(parts: Mapping[str, Any]) -> Any:
    """The part that is held out; None where there is none."""
    found = next((parts[name] for name in TESTS if name in parts), None) if len(parts) > 1 else None
    return found if found is not None and len(found) else None


def digest(place: Path) -> str:
    """A digest of the paths, sizes and times of the files with rows, which changes with any of them.

    Raises:
        DataError: when one has gone.
    """
    try:
        seen = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _row_files(place)]
    except OSError as error:
        raise DataError(f"{place}: {unreadable(error)}; save it again") from error
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _row_files(place: Path) -> Iterator[Path]:
    """All of them, sorted; not what the library itself keeps in a folder of save_to_disk."""
    if place.is_file():
        yield place
    for path in sorted(place.rglob("*")):
        own = path.suffix in (*PACKED, ".arrow") or path.name in (*SAVED, "dataset_info.json")
        if own and not path.name.startswith("cache-") and path.is_file():
            yield path
