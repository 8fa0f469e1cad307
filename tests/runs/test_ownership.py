"""One owner a run folder: refused to others while its process lives, and free at once when it dies."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from fastgan.config.presets import preset
from fastgan.errors import ConfigError
from fastgan.runs import ownership, run_folder
from fastgan.runs.ownership import InUseError, owned
from fastgan.runtime import file_lock

ROOT = Path(__file__).parents[2]
OWNER = """
import os, sys, time
from pathlib import Path
from fastgan.runs.ownership import owned
with owned(Path(sys.argv[1])):
    forks = sys.argv[2] == "fork"
    if not forks or os.fork() == 0:
        print("owns", flush=True)
        sys.stdin.read()
        os._exit(0) if forks else None
    time.sleep(60 if forks else 0)
"""


def owner(folder: Path, how: str = "alone") -> subprocess.Popen[str]:
    """A process that owns a folder until its standard input ends."""
    command = [sys.executable, "-c", OWNER, str(folder), how]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "owns\n"
    return process


def test_another_process_is_refused_and_told_whose_it_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    other = owner(run)
    with pytest.raises(InUseError) as refused, owned(run, "do this"):
        pass
    assert str(refused.value) == f"{run}: in use by process {other.pid} on {socket.gethostname()}; do this"
    other.communicate("")
    with owned(run):
        pass


@pytest.mark.parametrize("how", ["alone", pytest.param("fork", marks=pytest.mark.skipif(os.name == "nt", reason=""))])
def test_a_folder_is_free_at_once_when_its_owner_is_killed(tmp_path: Path, how: str) -> None:
    """Even if a child that the owner has forked goes on."""
    other = owner(tmp_path, how)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with owned(tmp_path):
        assert str(os.getpid()) in (tmp_path / ownership.LOCK).read_text()
    assert (tmp_path / ownership.LOCK).read_text() == ""
    other.communicate()


def test_a_process_that_owns_it_already_is_refused_too(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(InUseError, match=f"process {os.getpid()} on"), owned(tmp_path):
        pass


def test_a_folder_made_for_nothing_is_removed_and_any_other_stays(tmp_path: Path) -> None:
    with owned(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    with owned(tmp_path / "empty"):
        pass
    with owned(tmp_path / "full"):
        (tmp_path / "full" / "run.json").touch()
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "full"}


def test_an_owner_that_cannot_be_read_is_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "PATIENCE", 0.0)
    with owned(tmp_path):
        (tmp_path / ownership.LOCK).write_text("{")
        with pytest.raises(InUseError, match="in use by another process; "), owned(tmp_path):
            pass


@pytest.mark.parametrize("code", sorted(file_lock.NO_LOCKS))
def test_without_locks_a_note_says_so(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(file_lock.FileLock, "acquire", refused)
    with owned(tmp_path), owned(tmp_path):
        pass
    assert "this file system has no locks" in capsys.readouterr().err
    with file_lock.held(tmp_path / "x.lock") as mine:
        assert mine


def test_other_errors_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(file_lock.FileLock, "acquire", refused)
    refusal = pytest.raises(ConfigError, match="cannot be written .Read-only file system.; make it")
    with refusal, run_folder.owning(tmp_path):
        pass


def test_runs_without_a_name_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started in the same second, and with the same K; another K is another name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_folder.time, "strftime", lambda _: "20261126-120000")
    config = preset("mnist")
    with ExitStack() as held:
        paths = [run_folder.take(each, held) for each in (config, config, replace(config, classes=12), config)]
        assert [path.name for path in paths] == [
            "mnist-split1-k10-seed0-20261126-120000",
            "mnist-split1-k10-seed0-20261126-120000-2",
            "mnist-split1-k12-seed0-20261126-120000",
            "mnist-split1-k10-seed0-20261126-120000-3",
        ]
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_into_a_run_needs_its_owner_and_anything_else_nobody(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").touch()
    other = owner(run)
    for path in (run / "new.csv", run / "deep" / "er" / "new.png", tmp_path / "run" / ".." / "run" / "x"):
        refusal = pytest.raises(InUseError, match="or write elsewhere with --json")
        with refusal, run_folder.owning_outputs(path, flag="--json"):
            pass
    with run_folder.owning_outputs(tmp_path / "elsewhere.csv"):
        pass
    other.communicate("")
    with run_folder.owning_outputs(run / "new.csv", run / "samples" / "x.png"):  # one lock serves both
        pass


def test_a_runs_pictures_do_not_lie_among_its_images(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    config = replace(preset("folder"), data_dir=photos)
    for run, images in ((photos, photos), (tmp_path, tmp_path / "samples" / "old"), (photos / ".." / "photos", photos)):
        with ExitStack() as held, pytest.raises(ConfigError, match="would lie among the images"):
            run_folder.take(replace(config, run_dir=run, data_dir=images), held)
    with ExitStack() as held:
        assert run_folder.take(replace(config, run_dir=photos / "runs" / "a"), held) == photos / "runs" / "a"
    assert list(photos.iterdir()) == []
