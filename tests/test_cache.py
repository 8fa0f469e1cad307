"""Decoded images are kept: what is decoded anew and when, damaged caches, folders and disks that take nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_images import colours, load, put

from fastgan.data import cache
from fastgan.errors import DataError


def arrays(here: Path) -> list[Path]:
    return sorted((here / cache.FOLDER).glob("*.npy"))


def test_an_unchanged_folder_is_decoded_once(here: Path, decoded: list[str]) -> None:
    for number in range(3):
        put(here / f"{number}.png", number)
    first = load(here)
    assert len(decoded) == 3 and len(arrays(here)) == 1
    again = load(here)
    assert len(decoded) == 3 and torch.equal(first.images, again.images) and first.paths == again.paths
    assert load(here, 16).images.shape == (3, 1, 16, 16) and load(here, channels=3).images.shape == (3, 3, 8, 8)
    assert len(decoded) == 9 and len(arrays(here)) == 3
    for size, channels in ((8, 1), (16, 1), (8, 3)):
        load(here, size, channels)
    assert len(decoded) == 9


def test_a_changed_folder_is_decoded_anew(here: Path, decoded: list[str]) -> None:
    for number in range(3):
        put(here / f"{number}.png", number)
    load(here)
    put(here / "1.png", 100)
    os.utime(here / "1.png", ns=(1, 1))  # whatever the clock's step
    assert colours(load(here)) == [0, 100, 2]
    put(here / "3.png", 3)
    assert colours(load(here)) == [0, 100, 2, 3]
    (here / "0.png").rename(here / "9.png")
    assert colours(load(here)) == [100, 2, 3, 0]
    assert len(decoded) == 3 + 3 + 4 + 4
    assert len(list((here / cache.FOLDER).iterdir())) == 2  # what earlier states left behind is gone


def test_images_are_mapped_not_loaded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a warning of torch's, and a feed on the CPU reads from the very map."""
    put(here / "1.png", 1)
    load(here)
    maps: list[np.memmap] = []
    real = np.memmap

    def mapped(*args: Any, **more: Any) -> np.memmap:
        maps.append(real(*args, **more))
        return maps[-1]

    monkeypatch.setattr(np, "memmap", mapped)
    images = load(here).images
    assert images.data_ptr() == images.to("cpu").data_ptr() == maps[0].ctypes.data
    assert maps[0].mode == "r" and images.tolist() == np.load(arrays(here)[0]).tolist()


@pytest.mark.parametrize("ending", ["npy", "json"])
@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "header", "other", "absent"])
def test_a_damaged_cache_is_made_anew(here: Path, decoded: list[str], ending: str, damage: str) -> None:
    for number in range(3):
        put(here / f"{number}.png", number)
    load(here)
    (file,) = (here / cache.FOLDER).glob(f"*.{ending}")
    content = file.read_bytes()
    changed = {
        "cut": content[:-1],
        "longer": content + b"x",
        "empty": b"",
        "header": b"[]" + content[2:],
        "other": b"[]",
    }
    if damage == "absent":
        file.unlink()
    else:
        file.write_bytes(changed[damage])
    assert colours(load(here)) == [0, 1, 2] and len(decoded) == 6
    assert colours(load(here)) == [0, 1, 2] and len(decoded) == 6


def test_an_index_of_other_files_is_not_trusted(here: Path, decoded: list[str]) -> None:
    put(here / "1.png", 1)
    load(here)
    (index,) = (here / cache.FOLDER).glob("*.json")
    for before, after in (
        ("1.png", "2.png"),
        ('"bad": []', '"bad": 3'),
        (f'"version": {cache.VERSION}', '"version": 0'),
    ):
        content = index.read_text()
        assert before in content
        index.write_text(content.replace(before, after))
        count = len(decoded)
        assert load(here).paths == ("1.png",) and len(decoded) == count + 1


def test_a_folder_that_cannot_be_written_to(here: Path, tmp_path: Path, decoded: list[str]) -> None:
    put(here / "1.png", 1)
    (here / cache.FOLDER).write_text("in the way")
    for _ in range(2):
        assert colours(load(here)) == [1]
    assert decoded == ["1.png"] and len(list((tmp_path / "user-cache").rglob("*.npy"))) == 1
    put(here / "2.png", 2)
    (tmp_path / "user-cache" / "fastgan").rename(tmp_path / "away")
    (tmp_path / "user-cache" / "fastgan").write_text("in the way")
    with pytest.raises(DataError, match="kept nowhere .*XDG_CACHE_HOME"):
        load(here)


def test_a_full_disk_is_told_and_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "1.png", 1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cannot be kept .No space left on device.; make room there"):
        load(here)
    assert list((here / cache.FOLDER).iterdir()) == []
