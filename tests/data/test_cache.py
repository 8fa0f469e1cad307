"""The cache of decoded images: when it decodes again, damaged caches, and unwritable folders and disks."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_images import colours, load, put

from fastgan import train
from fastgan.config import command_line, train_command
from fastgan.config.schema import TrainConfig
from fastgan.config.serialization import from_json, to_json
from fastgan.data import cache, folder, loading
from fastgan.errors import ConfigError, DataError
from fastgan.inference.trained_run import TrainedRun


def arrays(here: Path) -> list[Path]:
    return sorted(cache.place(here).glob("*.npy"))


# --- where ---


def test_the_flag_comes_before_the_environment_and_that_before_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir(tmp_path / "flag") == tmp_path / "flag"
    assert cache.cache_dir(None) == tmp_path / "xdg" / "fastgan"
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert cache.cache_dir(None) == tmp_path / "home" / ".cache" / "fastgan"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigError, match="no home folder.*--cache-dir"):
        cache.cache_dir(None)


def test_nothing_is_written_beside_the_images(here: Path, tmp_path: Path, decoded: list[str]) -> None:
    """torchvision's ImageFolder takes any subfolder for a class; and the images' folder may be read-only."""
    for number, name in enumerate(("a/0.png", "b/1.png")):
        put(here / name, number)
    before = sorted(here.rglob("*"))
    here.chmod(0o555)
    try:
        load(here)
    finally:
        here.chmod(0o755)
    assert sorted(here.rglob("*")) == before
    (array,) = (tmp_path / "user-cache" / "fastgan" / "folders").rglob("*.npy")
    assert arrays(here) == [array] and len(decoded) == 2


def test_a_folder_is_known_by_any_path_to_it(here: Path, tmp_path: Path, decoded: list[str]) -> None:
    put(here / "1.png", 1)
    put(tmp_path / "other" / "1.png", 2)
    os.utime(tmp_path / "other" / "1.png", ns=(1, 1))
    os.utime(here / "1.png", ns=(1, 1))
    (tmp_path / "link").symlink_to(here)
    for path in (here, tmp_path / "link", here / ".." / "images"):
        assert colours(load(path)) == [1]
    assert len(decoded) == 1
    assert colours(load(tmp_path / "other")) == [2]  # files of the same names, sizes and times


def test_another_cache_by_the_flag(here: Path, tmp_path: Path, decoded: list[str]) -> None:
    put(here / "1.png", 1)
    for _ in range(2):
        assert colours(folder.full(here, 8, 1, cache_dir=tmp_path / "new" / "cache")) == [1]
    assert len(list((tmp_path / "new" / "cache" / "folders").rglob("*.npy"))) == 1
    assert decoded == ["1.png"] and not (tmp_path / "user-cache").exists()


def test_a_resumed_run_may_have_another_cache(tmp_path: Path) -> None:
    before = TrainConfig(cache_dir=tmp_path)
    assert from_json(to_json(before)) == before
    assert train_command.differences(TrainConfig(), before) == {}
    values = to_json(TrainConfig())
    del values["cache_dir"]  # as runs were kept before there was a flag
    assert from_json(values) == TrainConfig()


def test_a_command_may_have_another_cache_than_its_run(tmp_path: Path) -> None:
    own = TrainConfig(data_dir=tmp_path / "data", cache_dir=tmp_path / "own")
    run = TrainedRun(own, *[None] * 6)  # type: ignore[arg-type]
    assert run.config_at(None) == own
    assert run.config_at(None, tmp_path / "other").cache_dir == tmp_path / "other"
    assert run.config_at(tmp_path / "moved") == dataclasses.replace(own, data_dir=tmp_path / "moved")


# --- what is decoded anew ---


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


def test_a_changed_folder_is_decoded_again(here: Path, decoded: list[str]) -> None:
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
    assert len(list(cache.place(here).iterdir())) == 5  # what earlier states left behind is gone


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
def test_a_damaged_cache_is_written_again(here: Path, decoded: list[str], ending: str, damage: str) -> None:
    for number in range(3):
        put(here / f"{number}.png", number)
    load(here)
    (file,) = cache.place(here).glob(f"*.{ending}")
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
    (index,) = cache.place(here).glob("*.json")
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


# --- folders and disks that take nothing ---


def test_a_cache_that_cannot_be_written_to(here: Path, tmp_path: Path) -> None:
    put(here / "1.png", 1)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "user-cache").write_text("in the way")
    with pytest.raises(ConfigError, match=r"user-cache/fastgan/folders/.*: decoded .*cannot be kept.*--cache-dir$"):
        load(here)
    named = f"^--cache-dir {tmp_path}/file/x: cannot be written .Not a directory.; name a folder that can$"
    with pytest.raises(ConfigError, match=named):
        folder.full(here, 8, 1, cache_dir=tmp_path / "file" / "x")
    assert colours(folder.full(here, 8, 1, cache_dir=tmp_path / "other")) == [1]


def test_what_is_kept_is_read_from_a_cache_that_cannot_be_written_to(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(here / "1.png", 1)
    folder.full(here, 8, 1, cache_dir=tmp_path / "shared")
    monkeypatch.setattr(cache, "check", lambda _: pytest.fail("it was to be written to"))
    assert colours(folder.full(here, 8, 1, cache_dir=tmp_path / "shared")) == [1]


def test_training_refuses_a_cache_that_cannot_be_written_to_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("the data were read"))
    (tmp_path / "file").write_text("in the way")
    place, flags = tmp_path / "file", ["--run-dir", str(tmp_path / "run"), "--device", "cpu"]
    assert command_line.run_command(train.main, [*flags, "--cache-dir", str(place)]) == 2
    err = capsys.readouterr().err.strip()
    assert err.endswith(f"error: --cache-dir {place}: cannot be written (File exists); name a folder that can")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_reported_and_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "1.png", 1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cannot be kept .No space left on device.; free up space there"):
        load(here)
    assert list(cache.place(here).iterdir()) == []
