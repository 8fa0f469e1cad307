"""The training loop: several steps at once, as in graphs, and the signals that end it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastgan import train
from fastgan.config import command_line
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.runtime.turns import NO_OTHERS
from fastgan.training import engine
from fastgan.training.cuda_graphs import CudaGraphRunner
from fastgan.training.loop import AGREED_EVERY, StopSignals


class TwoRanks(Communicator):
    """A rank of two, of which the other has received `others`."""

    def __init__(self, others: int) -> None:
        super().__init__(0, 2)
        self.others, self.calls = others, 0

    def all_reduce_max(self, number: int) -> int:
        self.calls += 1
        return max(number, self.others)


def test_one_process_stops_at_once() -> None:
    received: list[int] = []
    signals = StopSignals(received, SINGLE_PROCESS, NO_OTHERS)
    assert not signals.came()
    received.append(15)
    assert signals.came()


@pytest.mark.parametrize(("own", "others", "expected"), [(0, 0, []), (15, 0, [15, 15]), (0, 2, [2]), (2, 15, [15, 2])])
def test_ranks_stop_after_the_same_iteration_with_the_same_signal(own: int, others: int, expected: list[int]) -> None:
    """All ranks report the largest signal, whichever rank received it."""
    comm, received = TwoRanks(others), [own] if own else []
    signals = StopSignals(received, comm, NO_OTHERS)
    assert not any(signals.came() for _ in range(AGREED_EVERY - 1)) and not comm.calls
    assert signals.came() == bool(expected) and comm.calls == 1
    assert received == expected


class Several(CudaGraphRunner):
    """Eight iterations at once, on a CPU too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unroll = 8


def test_unrolled_steps_write_the_same_run_as_single_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row of metrics.jsonl but its times, the checkpoints' names and their bytes."""
    flags = ["--network.width", "4", "--network.hidden", "16", "--epochs", "2", "--log-every", "700", "--device", "cpu"]
    flags += ["--grouping.at", "1", "--threads", "1"]  # else a busy machine may give one run fewer than the other
    runs = tmp_path / "ones", tmp_path / "eights"
    for run, kind in zip(runs, (CudaGraphRunner, Several), strict=True):
        monkeypatch.setattr(engine, "CudaGraphRunner", kind)
        assert command_line.run_command(train.main, [*flags, "--run-dir", str(run)]) == 0
    rows = [
        [
            {name: value for name, value in json.loads(line).items() if "second" not in name}
            for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for run in runs
    ]
    assert rows[0] == rows[1] and len(rows[0]) > 3
    names = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in runs]
    assert names[0] == names[1]
    for name in names[0]:
        ours, theirs = ((run / "checkpoints" / name / "model.safetensors").read_bytes() for run in runs)
        assert ours == theirs
