"""TensorBoard gets the rows of metrics.jsonl, never stops a run, and is closed at the end."""

from __future__ import annotations

import json
import math
import sys
import threading
import types
from collections import defaultdict
from pathlib import Path

import pytest

from fastgan import train
from fastgan.config import command_line
from fastgan.reporting import run_reporter
from fastgan.runs.tensorboard import TensorBoardLog
from fastgan.training.checkpointer import Checkpointer

SMALL = "--network.width 4 --network.hidden 16 --network.embedding 8 --device cpu --eval-every 1 --log-every 640"
SMALL += " --save-every 1 --grouping.at 1"
Found = dict[str, list[tuple[int, float]]]


class Writer:
    """A fake torch.utils.tensorboard.SummaryWriter: it keeps the scalars and makes an event file."""

    made: list[Writer]
    fails = ""

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self._fail("__init__")
        self.purge_step, self.closed, self.scalars = purge_step, 0, list[tuple[str, float, int]]()
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"events.out.tfevents.{len(self.made)}").touch()
        self.made.append(self)

    def _fail(self, name: str) -> None:
        if name == self.fails:
            raise OSError(f"no space left\nin {name}")

    def add_scalar(self, name: str, value: float, global_step: int) -> None:
        self._fail("add_scalar")
        self.scalars.append((name, value, global_step))

    def flush(self) -> None:
        self._fail("flush")

    def close(self) -> None:
        self.closed += 1
        self._fail("close")


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    """A fake TensorBoard, whether or not one is installed."""
    kind = type("Fresh", (Writer,), {"made": []})
    module = types.SimpleNamespace(SummaryWriter=kind)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)  # type: ignore[arg-type]
    return kind


def run(*flags: object) -> int:
    return command_line.run_command(train.main, [*SMALL.split(), *(str(flag) for flag in flags)])


def logged(folder: Path) -> Found:
    """The contents of metrics.jsonl, as TensorBoard should have them."""
    found: Found = defaultdict(list)
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name != "images_seen" and value is not None:
                found[name].append((row["images_seen"], value))
    return dict(found)


def test_numbers_are_written_and_the_writer_is_closed(tmp_path: Path, writer: type[Writer]) -> None:
    board = TensorBoardLog(tmp_path / "tensorboard")
    board.append({"images_seen": 1, "before": 1.0})
    with pytest.raises(RuntimeError, match="the run's own"), board.opened(0, []):
        board.append({"images_seen": 64, "a": 1.5, "b": 2, "c": None, "d": math.nan, "e": math.inf, "f": "text"})
        raise RuntimeError("the run's own")
    board.append({"images_seen": 128, "after": 1.0})
    (made,) = writer.made
    assert made.scalars == [("a", 1.5, 64), ("b", 2, 64)]
    assert made.closed == 1 and made.purge_step is None


def test_resuming_purges_and_rewrites_events(tmp_path: Path, writer: type[Writer]) -> None:
    rows = [{"images_seen": seen, "a": float(seen)} for seen in (64, 128)]
    for _ in range(2):  # the first time TensorBoard was installed after the run began: it gets all
        with TensorBoardLog(tmp_path).opened(128, rows):
            pass
    first, second = writer.made
    assert first.purge_step is None and [step for _, _, step in first.scalars] == [64, 128]
    assert second.purge_step == 128 and [step for _, _, step in second.scalars] == [128]


@pytest.mark.parametrize("fails", ["__init__", "add_scalar", "flush", "close"])
def test_failure_is_reported_once(
    tmp_path: Path, writer: type[Writer], fails: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.fails = fails
    board = TensorBoardLog(tmp_path / "tensorboard")
    with board.opened(0, []):
        for seen in (64, 128):
            board.append({"images_seen": seen, "a": 1.0})
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"warning: {tmp_path / 'tensorboard'}: not written" in line and f"no space left in {fails}" in line
    assert [made.closed for made in writer.made] == ([] if fails == "__init__" else [1])


def test_without_tensorboard_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # type: ignore[arg-type]
    with (board := TensorBoardLog(tmp_path / "tensorboard")).opened(0, []):
        board.append({"images_seen": 64, "a": 1.0})
    assert not (tmp_path / "tensorboard").exists() and capsys.readouterr().err == ""


def test_a_run_writes_the_rows_of_its_log(
    tmp_path: Path, writer: type[Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_reporter, "obtain_judge", lambda *_: None)
    assert run("--epochs", "2", "--run-dir", tmp_path / "run") == 0
    (made,) = writer.made
    found: Found = defaultdict(list)
    for name, value, step in made.scalars:
        found[name].append((step, value))
    assert dict(found) == logged(tmp_path / "run") and made.closed == 1
    assert {"d_loss", "cluster_accuracy", "regrouped"} < set(found)


def events(folder: Path) -> Found:
    """What TensorBoard's own reader finds."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = module.EventAccumulator(str(folder))
    reader.Reload()
    return {name: [(event.step, event.value) for event in reader.Scalars(name)] for name in reader.Tags()["scalars"]}


def same(found: Found, expected: Found) -> bool:
    return set(found) == set(expected) and all(
        len(found[name]) == len(expected[name])
        and all(
            a == b and math.isclose(v, w, rel_tol=1e-6)
            for (a, v), (b, w) in zip(found[name], expected[name], strict=True)
        )
        for name in found
    )


def open_files() -> set[str]:
    return {str(link.resolve()) for link in Path("/proc/self/fd").glob("*") if "tfevents" in str(link.resolve())}


def test_tensorboard_reads_a_resumed_run_without_doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the second epoch's rows and resumed from the first epoch's checkpoint, where it groups."""
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(run_reporter, "obtain_judge", lambda *_: None)
    threads = set(threading.enumerate())
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        real, saved = Checkpointer.save, list[int]()

        def stops(self: Checkpointer, images_seen: int) -> None:
            saved.append(images_seen)
            if len(saved) == 2:
                raise KeyboardInterrupt
            real(self, images_seen)

        patch.setattr(Checkpointer, "save", stops)
        with pytest.raises(KeyboardInterrupt):
            run("--epochs", "3", "--run-dir", folder)
    assert same(events(folder / "tensorboard"), logged(folder))
    assert run("--resume", "--run-dir", folder) == 0
    found = events(folder / "tensorboard")
    assert same(found, logged(folder)) and [step for step, _ in found["regrouped"]] == [saved[0]]
    assert len(list((folder / "tensorboard").iterdir())) == 2
    assert set(threading.enumerate()) <= threads and not open_files()
