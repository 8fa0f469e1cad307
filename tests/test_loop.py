"""Several steps at once, as graphs take them, and the loop's events: they fall where they fall with single steps."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan import train
from fastgan.config import command_line
from fastgan.config.schema import TrainConfig
from fastgan.training import engine
from fastgan.training.cuda_graphs import Iterations
from fastgan.training.loop import Loop


def events(
    unroll: int, *, batch: int, log_every: int, epoch_batches: int, save_every: int, first: int, chunk: int
) -> tuple[list[tuple[int, tuple[bool, ...]]], list[int]]:
    """Where reports, evaluations and checkpoints fall due over three epochs, and how many steps came at once."""
    config = TrainConfig(batch_size=batch, epochs=3, log_every=log_every, eval_every=2, save_every=save_every)
    one = Loop.__new__(Loop)
    one.config, one.epoch_images, one.images_seen = config, batch * epoch_batches, first * batch
    one.total, one.batch = 3 * one.epoch_images, batch
    one.iterations = types.SimpleNamespace(unroll=unroll)  # type: ignore[assignment]
    one.feed = types.SimpleNamespace(chunk=chunk * batch)  # type: ignore[assignment]
    found, counts = [], []
    while one.images_seen < one.total:
        counts.append(one._steps_ahead())
        one.images_seen += counts[-1] * batch
        due = tuple(one._passed(every) for every in one._events())
        if any(due):
            found.append((one.images_seen, due))
    assert one.images_seen == one.total
    return found, counts


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    batch=st.integers(2, 130),
    log_every=st.integers(1, 3000),
    epoch_batches=st.integers(1, 60),
    save_every=st.integers(1, 3),
    first=st.integers(0, 50),
    chunk=st.integers(1, 20),
)
def test_events_fall_where_they_fall_with_single_steps(**case: int) -> None:
    """Whatever the batch size, the cadence, and where the run is resumed."""
    case["first"] = min(case["first"], 3 * case["epoch_batches"] - 1)
    single, ones = events(1, **case)
    several, counts = events(8, **case)
    assert several == single
    assert set(ones) == {1} and sum(counts) == sum(ones)
    assert all(1 <= count <= min(8, case["chunk"]) for count in counts)


def test_most_steps_come_at_once() -> None:
    _, counts = events(8, batch=64, log_every=6400, epoch_batches=600, save_every=1, first=0, chunk=128)
    assert len([count for count in counts if count == 8]) >= 0.9 * len(counts)


class Several(Iterations):
    """Eight iterations at once, on a CPU too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unroll = 8


def test_a_run_in_eights_writes_what_a_run_in_ones_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row of metrics.jsonl but its times, the checkpoints' names and their bytes."""
    flags = ["--network.width", "4", "--network.hidden", "16", "--epochs", "2", "--log-every", "700", "--device", "cpu"]
    flags += ["--grouping.at", "1"]
    runs = tmp_path / "ones", tmp_path / "eights"
    for run, kind in zip(runs, (Iterations, Several), strict=True):
        monkeypatch.setattr(engine, "Iterations", kind)
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
