"""What run.json records of a run: its settings, and each machine that it was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import to_json
from fastgan.runs.run_folder import (
    RunFolder,
    begun,
    check_new,
    default_name,
    last_environment,
    precision_of,
    read_settings,
    write_json,
)
from fastgan.runtime.device import device_name
from fastgan.runtime.environment import environment


def create(
    config: TrainConfig, device: torch.device, how: Mapping[str, Any] = MappingProxyType({}), path: Path | None = None
) -> RunFolder:
    """Create the folder of a new run and write run.json.

    Args:
        how: more about the environment, such as precision and ranks.
        path: of the folder; left out, --run-dir or a name in runs/.

    Raises:
        ConfigError: when the folder cannot be written or already holds a run.
    """
    path = path or config.run_dir or Path("runs") / default_name(config)
    check_new(path)
    run = RunFolder(path)
    with begun(path):
        run.make_folders()
        write_json(run.settings, {"settings": to_json(config), "environment": {**environment(device), **how}})
    return run


def note_resume(
    run: RunFolder,
    config: TrainConfig,
    device: torch.device,
    images_seen: int,
    how: Mapping[str, Any],
) -> None:
    """Record in run.json the settings and the environment of a resumed run; `how` as in `create`."""
    run.make_folders()
    values = read_settings(run.path)
    values["settings"] = to_json(dataclasses.replace(config, resume=False, resume_on_other_ranks=False))
    again = {"images_seen": images_seen, **environment(device), **how}
    values["environment"].setdefault("resumed", []).append(again)
    write_json(run.settings, values)


def moved(settings: dict[str, Any], device: torch.device, precision: str) -> str | None:
    """One line if the device, torch or the precision changed since the run was last trained, so results differ.

    Args:
        settings: from `read_settings`.
        precision: of matrix products from here on.
    """
    kept = last_environment(settings)
    before = f"{kept.get('device')} with torch {kept.get('versions', {}).get('torch')} in {precision_of(settings)}"
    now = f"{device_name(device)} with torch {version('torch')} in {precision}"
    if before == now:
        return None
    return f"trained on {before} until here, and on {now} from here on: results will not match an uninterrupted run"
