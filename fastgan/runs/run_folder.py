"""The run folder: its name, run.json, and where each file of a run lies."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import from_json, to_json
from fastgan.errors import ConfigError, FastganError, RunWriteError
from fastgan.runtime.device import device_name
from fastgan.runtime.environment import environment


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def make_folders(self) -> None:
        """The folders in it that a run writes to, of which a copy may have left out those that were empty."""
        self.samples.mkdir(parents=True, exist_ok=True)
        self.checkpoints.mkdir(exist_ok=True)

    def write_prior(self, values: dict[str, Any]) -> None:
        """prior.json, replaced in one go."""
        _replace(self.path / "prior.json", values)


def create(config: TrainConfig, device: torch.device, how: Mapping[str, Any] = MappingProxyType({})) -> RunFolder:
    """Make the folder of a new run and write run.json; `how` it is trained stands there beside the settings.

    Raises ConfigError, before anything is trained, when the folder cannot be written or already holds a run.
    """
    if config.run_dir is not None:
        path = config.run_dir
    else:
        split = f"-split{config.split}" if config.imbalance == "split" else ""
        path = Path("runs") / f"{config.dataset}{split}-seed{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    run = RunFolder(path)
    if run.settings.exists():
        raise ConfigError(f"--run-dir {path}: already holds a run; add --resume to continue it, or name another folder")
    try:
        run.make_folders()
        _replace(run.settings, {"settings": to_json(config), "environment": {**environment(device), **how}})
    except OSError as error:
        raise ConfigError(
            f"--run-dir {path}: cannot be written ({error.strerror or error}); name a folder that can"
        ) from error
    return run


@contextmanager
def continued(path: Path) -> Iterator[None]:
    """Within, a run folder that cannot be written raises ConfigError: before anything more is trained."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"--run-dir {path}: cannot be written ({error.strerror or error}); make it writable, and make room if it "
            "is full, to go on with the run"
        ) from error


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Within, a file of the run that cannot be written raises RunWriteError with the space that is free."""
    try:
        yield
    except (FastganError, BrokenPipeError):  # a pipe is where messages go, not a file of the run
        raise
    except OSError as error:
        free = shutil.disk_usage(path).free if path.exists() else 0
        raise RunWriteError(
            f"{error.filename or path}: could not be written ({error.strerror or error}); {free:,} bytes are free; the "
            "newest checkpoint is untouched: make room and --resume"
        ) from error


def _replace(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file in one go."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def note_resume(
    run: RunFolder,
    config: TrainConfig,
    device: torch.device,
    images_seen: int,
    how: Mapping[str, Any],
) -> None:
    """Keep in run.json, replaced in one go, with which settings and on what the run goes on."""
    run.make_folders()
    values = read_settings(run.path)
    values["settings"] = to_json(dataclasses.replace(config, resume=False, resume_on_other_ranks=False))
    again = {"images_seen": images_seen, **environment(device), **how}
    values["environment"].setdefault("resumed", []).append(again)
    _replace(run.settings, values)


def read_settings(path: Path) -> dict[str, Any]:
    """run.json of an existing run: its settings and environment; ConfigError naming what cannot be read."""
    try:
        values = json.loads((path / "run.json").read_text(encoding="utf-8"))
        if not isinstance(values["settings"], dict) or not isinstance(values["environment"], dict):
            raise TypeError("settings or environment is not an object")
        if not all(isinstance(again, dict) for again in values["environment"].get("resumed", [])):
            raise TypeError("resumed is no list of objects")
    except OSError as error:
        raise ConfigError(f"{path}: holds no run (run.json: {error.strerror or error}); name a run's folder") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path / 'run.json'}: damaged ({error}); restore it, or train again") from error
    return {"settings": values["settings"], "environment": values["environment"]}


def last_environment(settings: dict[str, Any]) -> dict[str, Any]:
    """Of what `read_settings` gave: on what the run went on last."""
    kept: dict[str, Any] = settings["environment"]
    last: dict[str, Any] = [kept, *kept.get("resumed", [])][-1]
    return last


def moved(settings: dict[str, Any], device: torch.device, precision: str) -> str | None:
    """Of what `read_settings` gave: with what the run goes on that rounds otherwise, in a line; None with nothing.

    precision: of the products from here on.
    """
    kept = last_environment(settings)
    before = f"{kept.get('device')} with torch {kept.get('versions', {}).get('torch')} in {precision_of(settings)}"
    now = f"{device_name(device)} with torch {version('torch')} in {precision}"
    if before == now:
        return None
    return f"trained on {before} until here, and on {now} from here on: weights will differ from those without this"


def precision_of(values: dict[str, Any]) -> str:
    """Of run.json, or of a row of a sweep: in which precision products were computed last.

    Before that was kept, --amp was bfloat16 on every device.
    """
    settings = values.get("settings", {})
    asked = settings.get("amp_dtype", "bfloat16") if settings.get("amp") else "float32"
    kept = last_environment({"environment": values.get("environment", {})}).get("precision")
    return str(kept or asked)


def threads_of(settings: dict[str, Any]) -> int | None:
    """Of what `read_settings` gave: with how many threads the run went on last; None where that was not kept."""
    threads = last_environment(settings).get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None


def ranks_of(settings: dict[str, Any]) -> int:
    """Of what `read_settings` gave: on how many ranks the run went on last."""
    return int(last_environment(settings).get("ranks", 1))


def saved_config(path: Path) -> TrainConfig:
    """The settings of an existing run; raises ConfigError naming the folder when there are none to read."""
    return from_json(read_settings(path)["settings"])
