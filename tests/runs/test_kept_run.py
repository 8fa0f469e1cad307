"""A run that an earlier version wrote is read, and goes on as it would have there.

`kept_run/run` is a run of two epochs on digits, made by the command that its run.json names, before the package was
divided into rooms; `kept_run/continued.jsonl` holds the log of the same run after a third epoch, by the same version.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fastgan import train
from fastgan.config.command_line import run_command
from fastgan.reporting import run_reporter
from fastgan.step.losses import LOSSES

KEPT = Path(__file__).parents[1] / "kept_run"


def reports(path: Path) -> list[dict[str, Any]]:
    """The rows of a log that hold losses."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if LOSSES[0] in row]


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, optimisers and clock: 36 steps later each loss is what it was there, within rounding."""
    monkeypatch.setattr(run_reporter, "obtain_judge", lambda *_: None)
    run = tmp_path / "run"
    shutil.copytree(KEPT / "run", run)
    assert run_command(train.main, ["--resume", "--run-dir", str(run), "--epochs", "3"]) == 0
    ours, theirs = reports(run / "metrics.jsonl"), reports(KEPT / "continued.jsonl")
    assert len(ours) == len(theirs) > len(reports(KEPT / "run" / "metrics.jsonl"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name in ("images_seen", *LOSSES):
            assert mine[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5), name
