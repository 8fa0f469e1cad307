"""The suite of worlds by several processes, as bench.gpu.worlds runs it on a GPU, and what it keeps; without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from own_images import dark_and_light

from bench.gpu import mps, worlds
from fastgan.sweep.worlds import WORLDS

LIMIT = 120.0  # seconds for what takes a few


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """80 images of two kinds in place of CIFAR-2, and no other world's."""
    dark_and_light(tmp_path / "data" / "cifar2-7-3")
    return tmp_path / "data"


def asked(data: Path) -> worlds.Asked:
    plan = (("mnist", "0", "1-50"), ("mnist,cifar-2", "0-2", "1"))
    more = ("--threads", "1", "--cache-dir", str(data / "cache"))
    return worlds.Asked(data, data / "results", plan, "kmeans", more)


def test_worlds_without_images_are_left_out(data: Path) -> None:
    (flags,) = asked(data).commands(1)
    assert flags[flags.index("--worlds") + 1] == "cifar-2" and flags[flags.index("--seeds") + 1] == "0-2"
    every = worlds.Asked(data, data)
    for name in {name for names, _, _ in every.plan for name in names.split(",")} - {"cifar-2"}:
        (data / WORLDS[name].folder).mkdir(exist_ok=True)
    assert len(every.commands(0)) == len(worlds.PLAN)
    assert every.commands(1)[0] == every.commands(0)[1]  # each process begins elsewhere


@pytest.mark.slow
def test_processes_share_runs_out_and_rows_come_back(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mps.shutil, "which", lambda name: None)
    what = asked(data)
    assert worlds.train(what, 2, LIMIT)
    rows = sorted((what.results / "cifar-2" / "rows").glob("*.json"))
    assert [row.stem for row in rows] == ["kmeans-seed0", "kmeans-seed1", "kmeans-seed2"]
    assert worlds.pack(what.results, data / "kept.jsonl") == 3
    worlds.unpack(data / "kept.jsonl", data / "again")
    for path in (*rows, what.results / "cifar-2" / "sweep.json"):
        assert (data / "again" / path.relative_to(what.results)).read_text() == path.read_text()


def test_time_that_is_up_leaves_the_rest_for_another_call(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mps.shutil, "which", lambda name: None)
    monkeypatch.setattr(worlds, "WORK", "import time; time.sleep(600)")
    monkeypatch.setattr(worlds, "BEAT", 0.05)
    assert not worlds.train(asked(data), 2, 0.1)


def test_the_last_picture_of_each_run_is_kept(tmp_path: Path) -> None:
    for name in ("epoch-0005.png", "epoch-0020.png", "code-3.png"):
        path = tmp_path / "mnist" / "runs" / "elastic-split01-seed0" / "samples" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    worlds.pictures(tmp_path, tmp_path / "kept.tar")
    with tarfile.open(tmp_path / "kept.tar") as kept:
        assert kept.getnames() == ["mnist/runs/elastic-split01-seed0/samples/epoch-0020.png"]


@pytest.mark.parametrize("works", [True, False])
def test_mps_is_used_only_where_it_works(works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that starts, but under which no process finds a GPU, is ended and left out."""
    control = tmp_path / "control"
    control.write_text(f'#!/bin/sh\necho "$@ $(cat)" >> {tmp_path}/said\n')
    control.chmod(0o755)
    monkeypatch.setattr(mps.shutil, "which", lambda name: str(control))
    monkeypatch.setattr(mps, "TRIED", [sys.executable, "-c", f"raise SystemExit({int(not works)})"])
    with mps.mps() as there:
        assert set(there) == ({"CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"} if works else set())
        assert all(Path(path).is_dir() for path in there.values())
    said = (tmp_path / "said").read_text().splitlines()
    assert said[0].startswith("-d") and said[-1].strip() == "quit"


def test_unpack_is_a_command(tmp_path: Path) -> None:
    line = json.dumps({"file": "mnist/rows/elastic-split01-seed0.json", "text": "{}"})
    (tmp_path / "kept.jsonl").write_text(line + "\n")
    command = [sys.executable, "-m", "bench.gpu.worlds", "unpack", str(tmp_path / "kept.jsonl"), str(tmp_path / "rows")]
    subprocess.run(command, check=True, timeout=LIMIT)
    assert (tmp_path / "rows" / "mnist" / "rows" / "elastic-split01-seed0.json").read_text() == "{}"
