"""What a run prints while it trains, and when it is silent."""

from __future__ import annotations

import pytest
import torch

from fastgan.runtime import stages
from fastgan.step.losses import LOSSES
from fastgan.training import console
from fastgan.training.console import Console

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
STARVED = "note: starved"


class Starving:
    """It reports starvation at every call."""

    def __init__(self, threads: int) -> None: ...

    def check(self) -> str:
        return STARVED


def test_a_line_shows_the_epoch_and_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    one, begun = Console(4, 100, CUDA, silent=False), []
    monkeypatch.setattr(stages.SPEAKER, "begin", begun.append)
    with one.training(100):
        one.advance(50)
        one.show_losses(dict.fromkeys(LOSSES, 0.25))
        assert begun[0].line().startswith("training: epoch 1.5 of 4, d 0.250, g 0.250, information 0.250, ")


@pytest.mark.parametrize(("device", "silent", "message"), [(CPU, False, [STARVED]), (CPU, True, []), (CUDA, False, [])])
def test_starvation_is_reported_on_a_cpu_by_the_main_rank_only(
    device: torch.device,
    silent: bool,
    message: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(console, "Starvation", Starving)
    one = Console(4, 100, device, silent=silent)
    with one.training(0):
        one.advance(10)
    assert capsys.readouterr().err.splitlines() == message
