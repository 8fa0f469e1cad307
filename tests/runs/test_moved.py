"""A run resumed on another device, torch or precision notes it, since its results will differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan import train
from fastgan.config import command_line
from fastgan.runs import record
from fastgan.runtime import environment


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"device": "Abacus (3 threads)"}, "trained on Abacus (3 threads) with torch"),
        ({"versions": {"torch": "0.4"}}, "with torch 0.4 in float32 until here, and on"),
        ({"precision": "bfloat16"}, "in bfloat16 until here, and on"),
    ],
)
def test_another_machine_thread_count_or_torch_is_noted(change: dict[str, Any], expected: str | None) -> None:
    device = torch.device("cpu")
    note = record.moved({"environment": {**environment.environment(device), **change}}, device, "float32")
    assert note is None if expected is None else note is not None and expected in note


def test_the_note_is_printed_on_resume(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    resume = ["--resume", "--run-dir", str(run)]
    assert command_line.run_command(train.main, resume) == 0
    assert "note:" not in capsys.readouterr().err
    kept = json.loads((run / "run.json").read_text())
    kept["environment"]["device"] = "Abacus (3 threads)"
    (run / "run.json").write_text(json.dumps(kept))
    assert command_line.run_command(train.main, resume) == 0
    assert "note: trained on Abacus (3 threads)" in capsys.readouterr().err
