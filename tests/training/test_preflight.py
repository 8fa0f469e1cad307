"""Before training: each bad file is named, its verdict kept, memory bounded, and what a killed process left removed."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from own_images import colours, load, png_bomb, put
from PIL import Image

from fastgan.data import cache
from fastgan.errors import DataError
from fastgan.runtime.file_lock import lock_opened
from fastgan.runtime.stages import Stage

ROOT = Path(__file__).parents[2]


def resident_mib(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def test_a_folder_with_every_kind_of_bad_file(here: Path, decoded: list[str]) -> None:
    """One message names all; decompression bombs take no memory; the second run decodes nothing."""
    for number in range(92):
        put(here / f"{number:02d}.png", number)
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(whole, "JPEG")
    bad = {
        "bomb.png": (png_bomb(), "9750 x 9750 pixels: more than 50 megapixels"),
        "cut.jpg": (whole.getvalue()[:1000], "damaged"),
        "cut.png": ((here / "00.png").read_bytes()[:45], "damaged"),
        "empty.jpg": (b"", "empty file"),
        "page.png": (b"<html>404 Not Found</html>", "not an image of a supported format"),
        "program.webp": (b"\x7fELF\2\1\1" + bytes(100), "not an image of a supported format"),
        "text.jpg": (b"text", "not an image of a supported format"),
    }
    for name, (content, _) in bad.items():
        (here / name).write_bytes(content)
    (here / "absent.png").symlink_to(here / "nowhere.png")
    watched = sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK)
    if watched:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = resident_mib("VmRSS")
    with pytest.raises(DataError, match="8 of 100 images cannot be used") as caught:
        load(here)
    if watched:
        assert resident_mib("VmHWM") - before < 60  # the pixels would be 91
    for name, (_, reason) in bad.items():
        assert f"{name}: {reason}" in str(caught.value)
    assert "absent.png: cannot be read" in str(caught.value)
    count = len(decoded)
    with pytest.raises(DataError, match="8 of 100"):
        load(here)
    assert colours(load(here, skip_bad=True)) == list(range(92)) and len(decoded) == count == 99


KILLED = """
import os, signal, sys, time
from pathlib import Path
from fastgan.data import decode, folder, workers
real, parent = decode.decode_file, os.getpid()
def decode_file(path, *form):
    if path.endswith("200.png"):
        assert os.getpid() != parent, "no process of its own"
        time.sleep(1)  # the other worker is done meanwhile
        os.kill({"parent": parent, "worker": os.getpid()}[sys.argv[2]], signal.SIGKILL)
    return real(path, *form)
decode.decode_file = decode_file
workers.threads.available, workers.MANY = lambda: 2, 200
folder.full(Path(sys.argv[1]), 64, 3)
"""


def decode_and_kill(here: Path, whom: str) -> subprocess.CompletedProcess[str]:
    """Decode 201 images in two processes; at the last image a worker is killed, or its parent."""
    for number in range(201):
        put(here / f"{number:03d}.png", number)
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(here), whom], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(sys.platform != "linux", reason="asks for signals and file locks")
def test_a_process_killed_while_it_decodes(here: Path) -> None:
    """Its workers end too (until then they keep its pipe open); the next process removes its leftovers."""
    done = decode_and_kill(here, "parent")
    assert done.returncode == -signal.SIGKILL, done.stderr
    (partial,) = cache.place(here).iterdir()
    assert partial.suffix == ".tmp" and partial.stat().st_size > 0
    os.utime(partial, (time.time() - 60,) * 2)
    assert colours(load(here, 64, 3)) == list(range(201))
    assert sorted(path.suffix for path in cache.place(here).iterdir()) == [".facts", ".json", ".npy", ".told", ".txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked only on Linux")
def test_a_killed_worker(here: Path) -> None:
    """One line that says so, as an operating system without memory would cause it; nothing half-written stays."""
    done = decode_and_kill(here, "worker")
    assert "fastgan.errors.DataError: a process that decodes images ended" in done.stderr.splitlines()[-1]
    assert done.returncode == 1 and list(cache.place(here).iterdir()) == []


def test_files_that_another_process_is_writing_are_kept(here: Path) -> None:
    """While it holds its lock, and in the moment before it does."""
    pytest.importorskip("fcntl")
    put(here / "1.png", 1)
    cache.place(here).mkdir(parents=True)
    held, new = (cache.place(here) / f"{name}.tmp" for name in ("held", "new"))
    new.touch()
    with held.open("wb") as file:
        assert lock_opened(file)
        os.utime(held, (0, 0))
        load(here)
        assert held.exists() and new.exists()
    os.utime(held, (0, 0))
    put(here / "2.png", 2)
    load(here)
    assert not held.exists() and new.exists()


def test_decoding_is_a_stage(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows its progress, in a terminal and elsewhere."""
    stages: list[Stage] = []

    @contextmanager
    def stage(name: str, total: int) -> Iterator[Stage]:
        stages.append(Stage(name, total))
        yield stages[-1]

    monkeypatch.setattr(cache, "stage", stage)
    for number in range(3):
        put(here / f"{number}.png", number)
    (here / "bad.png").write_bytes(b"")
    for _ in range(2):
        load(here, skip_bad=True)
    assert [(each.name, each.done, each.total) for each in stages] == [("decoding", 4, 4)]
