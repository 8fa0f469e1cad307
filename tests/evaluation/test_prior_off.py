"""evaluate says where the learned prior and the shares that Q counts disagree."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fastgan import evaluate
from fastgan.config.command_line import run_command
from fastgan.evaluation import diagnosis
from fastgan.inference import trained_run


@pytest.mark.parametrize("kind", ["learned", "uniform"])
@pytest.mark.parametrize("off", [True, False])
def test_evaluate_prints_and_keeps_a_disagreement(
    kind: Any,
    off: bool,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a run with enough images shown; a prior that was fixed is what was asked for."""
    real, figures = trained_run.load, tmp_path / "figures.json"
    assert run_command(evaluate.main, [str(tiny_run), "--json", str(figures)]) == 0
    assert json.loads(figures.read_text())["prior_off"] is None  # hardly trained: nothing is said of the prior
    capsys.readouterr()

    def load(path: Path, device: torch.device) -> trained_run.TrainedRun:
        run = real(path, device)
        if off:
            run.prior.logits.data = torch.tensor([9.0, 9.0, *([0.0] * 8)])
        return dataclasses.replace(run, config=dataclasses.replace(run.config, prior=kind))

    monkeypatch.setattr(trained_run, "load", load)
    monkeypatch.setattr(diagnosis, "hardly_trained", lambda *_: None)
    monkeypatch.setattr(diagnosis, "PRIOR_DISAGREES", 0.5 if not off else diagnosis.PRIOR_DISAGREES)
    assert run_command(evaluate.main, [str(tiny_run), "--json", str(figures), "--force"]) == 0
    said = capsys.readouterr().out
    told = off and kind == "learned"
    assert ("The prior and the images disagree. The learned probabilities and the shares" in said) == told
    assert (json.loads(figures.read_text())["prior_off"] == "The prior and the images disagree") == told
