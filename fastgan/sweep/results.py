"""A sweep's results folder: one JSON file for each finished run, never overwritten, and a lock for each run.

RESULTS/sweep.json            data set, recipe and epochs, the same for every run in the folder
RESULTS/images.json           how many images its data set has, and their digest
RESULTS/rows/<run>.json       a finished run: settings, environment, figures by epoch, losses
RESULTS/runs/<run>/           its run folder; its checkpoints are removed once the run is finished, if not to be kept
RESULTS/table.txt .md .png    written by --table
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastgan.errors import ConfigError
from fastgan.runtime import file_lock

FORMAT = 1


@dataclass(frozen=True)
class RunKey:
    """Identifies a run of a sweep. split: None where the data set has none."""

    method: str
    split: int | None
    seed: int

    @property
    def name(self) -> str:
        split = "" if self.split is None else f"-split{self.split:02d}"
        return f"{self.method}{split}-seed{self.seed}"


def row_path(folder: Path, key: RunKey) -> Path:
    """The file of a finished run in a results folder."""
    return folder / "rows" / f"{key.name}.json"


class Results:
    """The folder, opened for one data set, recipe and number of epochs.

    Args:
        keep_checkpoints: leave those of finished runs, whose folders every command then reads.

    Raises:
        ConfigError: naming the file, if the folder belongs to another sweep or cannot be read or written.
    """

    def __init__(self, folder: Path, *, dataset: str, recipe: str, epochs: int, keep_checkpoints: bool = False) -> None:
        self.folder, self.keep_checkpoints = folder, keep_checkpoints
        self.sweep = {"format": FORMAT, "dataset": dataset, "recipe": recipe, "epochs": epochs}
        try:
            for made in (self.rows_folder, self.runs_folder, folder / "locks"):
                made.mkdir(parents=True, exist_ok=True)
            _write_once(folder / "sweep.json", self.sweep)
        except OSError as error:
            raise ConfigError(
                f"--results {folder}: cannot be written ({error.strerror or error}); name a folder that can"
            ) from error
        check_sweep(folder, self.sweep)
        read_rows(folder)  # a damaged row is reported before anything is trained

    @property
    def rows_folder(self) -> Path:
        return self.folder / "rows"

    @property
    def runs_folder(self) -> Path:
        return self.folder / "runs"

    def check_images(self, images: dict[str, Any]) -> None:
        """Keep which images the sweep is on; raise ConfigError if its earlier runs were on others.

        Args:
            images: their `count` and `digest`.
        """
        path = self.folder / "images.json"
        _write_once(path, images)
        before = _read(path)
        if before != images:
            raise ConfigError(
                f"--results {self.folder}: its runs are on other images ({before.get('count')} then, "
                f"{images['count']} now); give the former --data-dir, or name another folder"
            )

    def _row(self, key: RunKey) -> Path:
        return row_path(self.folder, key)

    def has(self, key: RunKey) -> bool:
        """Whether this run is finished."""
        return self._row(key).exists()

    def write(self, key: RunKey, row: dict[str, Any]) -> None:
        """Write the row of a finished run; an existing one is kept."""
        run = {"dataset": self.sweep["dataset"], "recipe": self.sweep["recipe"], "epochs": self.sweep["epochs"]}
        run |= {"method": key.method, "split": key.split, "seed": key.seed}
        _write_once(self._row(key), {"format": FORMAT, "run": run, **row})

    @contextmanager
    def claim(self, key: RunKey) -> Iterator[bool]:
        """Yields whether this process may train the run; no other may until the block ends or the process dies."""
        with file_lock.held(self.folder / "locks" / f"{key.name}.lock") as mine:
            yield mine


def _plain(value: Any) -> Any:
    """The value with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _write_once(path: Path, values: dict[str, Any]) -> None:
    """Write a file atomically, without replacing an existing one."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(_plain(values), file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_sweep(folder: Path, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """The folder's sweep.json; raises ConfigError if it is missing, damaged or of another sweep."""
    path = folder / "sweep.json"
    found = _read(path)
    if found.get("format") != FORMAT:
        raise ConfigError(f"{path}: has format {found.get('format')}, this version reads {FORMAT}; name another folder")
    for name, value in (wanted or {}).items():
        if found.get(name) != value:
            raise ConfigError(
                f"{path}: this folder is for {name} {found.get(name)}, not {value}; name another with --results"
            )
    return found


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all finished runs; raises ConfigError naming a file that is damaged or of another sweep."""
    sweep = check_sweep(folder)
    rows = []
    for path in sorted((folder / "rows").glob("*.json")):
        row = _read(path)
        try:
            run, evaluations = row["run"], row["evaluations"]
            key = RunKey(run["method"], run["split"], run["seed"])
            whole = row["format"] == FORMAT and path.stem == key.name and _figures(evaluations)
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{path}: not a row of a sweep ({error} is missing); remove it to repeat the run"
            ) from error
        if not whole:
            raise ConfigError(f"{path}: not a row: wrong format, name or figures; remove it to repeat the run")
        for name in ("dataset", "recipe", "epochs"):
            if run.get(name) != sweep[name]:
                raise ConfigError(f"{path}: has {name} {run.get(name)}, the folder is for {sweep[name]}; move it away")
        rows.append(row)
    return rows


def _figures(evaluations: Any) -> bool:
    """Whether these are figures by epoch: numbers, or null for what could not be measured."""
    return isinstance(evaluations, dict) and all(
        epoch.isdecimal()
        and isinstance(found, dict)
        and all(isinstance(v, (int, float, type(None))) for v in found.values())
        for epoch, found in evaluations.items()
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: not found; --results must name the folder of a sweep") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not valid JSON ({error}); restore it, or remove it to repeat the run") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a JSON object; restore it, or remove it to repeat the run")
    return values
