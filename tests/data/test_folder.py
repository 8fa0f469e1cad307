"""A folder of the user's images: what is found in it, bad files, labels, and a run on it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_images import colours, load, put, speckled
from PIL import Image

from fastgan import train
from fastgan.config import command_line
from fastgan.config.presets import preset
from fastgan.data import cache, decode, loading
from fastgan.data.image_set import ImageSet
from fastgan.data.scan import SUFFIXES, scan
from fastgan.errors import ConfigError, DataError
from fastgan.evaluation import evaluator

# --- what is found ---


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_small_and_in_capitals(here: Path, suffix: str) -> None:
    put(here / f"a{suffix}", 100)
    put(here / f"b{suffix.upper()}", 100)
    images = load(here)
    assert images.paths == (f"a{suffix}", f"b{suffix.upper()}")
    assert images.images.shape == (2, 1, 8, 8) and images.images.dtype == torch.uint8
    assert (images.images.int() - 100).abs().max() <= 2


def test_nested_folders_in_the_order_of_their_paths(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("b/2.png", "a/x/9.png", "z.png", "a/10.png", "B.png", "é/ü 图.png", "line\nbreak.png")
    for number, name in enumerate(names):
        put(here / name, number)
    for other in ("notes.txt", ".hidden.png", ".thumbnails/1.png", "a/Thumbs.db", "png"):
        (here / other).parent.mkdir(exist_ok=True)
        (here / other).write_bytes(b"x")
    images = load(here)
    assert images.paths == ("B.png", "a/10.png", "a/x/9.png", "b/2.png", "line\nbreak.png", "z.png", "é/ü 图.png")
    assert colours(images) == [4, 3, 1, 0, 6, 2, 5]
    assert images.labels is None and images.class_names is None and images.class_frequencies() is None
    assert "decoded 7 images" in (err := capsys.readouterr().err) and "(4 other or hidden files ignored)" in err
    assert err.count("decod") == 1  # no bar without a terminal
    (here / "bad\nname.png").touch()
    assert len(load(here, skip_bad=True).images) == 7
    assert next(cache.place(here).glob("*-bad.txt")).read_text() == "'bad\\nname.png'\tempty file\n"


def test_links_are_followed_but_not_in_circles(here: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "1.png", 1)
    put(here / "2.png", 2)
    try:
        (here / "there").symlink_to(tmp_path / "elsewhere")
        (here / "three.png").symlink_to(here / "2.png")
        (here / "again").symlink_to(here)
    except OSError:
        pytest.skip("no links here")
    assert load(here).paths == ("2.png", "there/1.png", "three.png")


def test_bytes_that_are_no_text_in_a_name(here: Path) -> None:
    try:
        put(here / os.fsdecode(b"\xff.png"), 5)
        (here / os.fsdecode(b"\xfe.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system wants text")
    for _ in range(2):
        assert load(here, skip_bad=True).paths == (os.fsdecode(b"\xff.png"),)
    with pytest.raises(DataError, match=r"'\\udcfe.png': empty file"):
        load(here)


def test_no_images_no_folder_and_a_file_in_its_place(here: Path) -> None:
    (here / "notes.txt").write_text("x")
    expected = {
        here: r"holds no images \(1 other or hidden file\); looked for jpg, .*pgm",
        here / "absent": "no such folder; name the one",
        here / "notes.txt": "a file, not a folder; name the folder with",
    }
    for path, message in expected.items():
        with pytest.raises(DataError, match=f"{path}: {message}") as caught:
            load(path)
        assert "\n" not in str(caught.value)
    assert not cache.cache_dir(None).exists()


# --- bad files ---


def test_bad_files_are_named_with_their_reasons(here: Path) -> None:
    put(here / "good.png")
    (here / "a.jpg").write_bytes(b"")
    (here / "b.jpg").write_text("text")
    (here / "c.png").write_bytes(put(here / "good.png").read_bytes()[:45])
    with pytest.raises(DataError) as caught:
        load(here)
    message = str(caught.value)
    assert message.startswith(f"{here}: 3 of 4 images cannot be used (a.jpg: empty file; b.jpg: not an image of")
    assert "c.png: " in message and message.endswith("leave them out with --skip-bad") and "\n" not in message


def test_ten_bad_files_are_named_and_the_rest_counted(here: Path) -> None:
    put(here / "good.png")
    for number in range(13):
        (here / f"{number:02d}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"13 of 14 images.*00.png.*09.png: empty file; and 3 more\)"):
        load(here)


def test_skipped_files_are_left_out_and_listed(
    here: Path, decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        put(here / f"{number}.png", number)
    (here / "1.png").write_bytes(b"")
    images = load(here, skip_bad=True)
    assert images.paths == ("0.png", "2.png") and colours(images) == [0, 2]
    (listed,) = cache.place(here).glob("*-bad.txt")
    assert listed.read_text() == "1.png\tempty file\n"
    assert f"left out 1 bad file, listed in {listed}" in capsys.readouterr().err
    assert np.load(next(cache.place(here).glob("*.npy"))).shape == (2, 1, 8, 8)
    assert load(here, skip_bad=True).paths == images.paths
    with pytest.raises(DataError, match="1 of 3 images cannot be used"):
        load(here)
    assert sorted(decoded) == ["0.png", "1.png", "2.png"]  # once, in the end


def test_no_good_file(here: Path) -> None:
    (here / "a.png").write_bytes(b"")
    for skip in (False, True):
        with pytest.raises(DataError, match="1 of 1 image cannot be used .*repair .*it"):
            load(here, skip_bad=skip)
    assert list(cache.place(here).iterdir()) == []


def test_what_is_out_of_reach_is_bad_and_tried_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    put(here / "good.png", 1)
    locked = put(here / "locked.png", 2)

    def refuse(path: str, mode: str) -> Any:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied")
        return Path(path).open(mode)

    with monkeypatch.context() as patch:
        patch.setattr(decode, "open", refuse, raising=False)
        patch.setattr(os, "access", lambda *_: False)
        with pytest.raises(DataError, match=r"locked.png: cannot be read \(Permission denied\)"):
            load(here)
        for _ in range(2):
            assert load(here, skip_bad=True).paths == ("good.png",)
    assert decoded == ["good.png"]
    assert load(here).paths == ("good.png", "locked.png")


def test_a_subfolder_that_cannot_be_read_is_bad(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "good.png")
    put(here / "locked" / "1.png")
    real = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == here / "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"1 of 2 .*locked/: cannot be read \(Permission denied\)"):
            load(here)
        assert load(here, skip_bad=True).paths == ("good.png",)
    assert load(here).paths == ("good.png", "locked/1.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_broken_links_are_bad(here: Path) -> None:
    put(here / "good.png")
    os.mkfifo(here / "pipe.png")
    (here / "link.png").symlink_to(here / "absent.png")
    assert [path for path, _ in scan(here).bad] == ["link.png", "pipe.png"]
    with pytest.raises(DataError, match="2 of 3 .*link.png: cannot be read .*pipe.png: not a regular file"):
        load(here)
    assert load(here, skip_bad=True).paths == ("good.png",)


# --- labels ---


def test_labels_are_the_first_folders(here: Path) -> None:
    for number, name in enumerate(("dog/1.png", "cat/old/2.png", "cat/3.png", "eel/4.png")):
        put(here / name, number)
    images = load(here, labels_from_folders=True)
    assert images.class_names == ("cat", "dog", "eel") and images.label_count == 3
    assert images.paths == ("cat/3.png", "cat/old/2.png", "dog/1.png", "eel/4.png")
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1, 2]
    moved = images.to(torch.device("cpu"))
    assert moved.paths == images.paths and moved.class_names == images.class_names
    put(here / "loose.png")
    put(here / "more.png")
    with pytest.raises(ConfigError, match="--labels-from-folders: loose.png and 1 more lie in .* itself"):
        load(here, labels_from_folders=True)


# --- runs ---

RUN = "--dataset folder --image-size 32 --classes 3 --network.width 8 --network.hidden 32 --device cpu"


def run(here: Path, *flags: str) -> int:
    return command_line.run_command(train.main, [*RUN.split(), "--data-dir", str(here), *flags])


@pytest.mark.parametrize("channels", ["1", "3"])
def test_a_run(here: Path, tmp_path: Path, channels: str) -> None:
    draw = np.random.default_rng(0)
    for number in range(80):
        path = here / "abcd"[number % 4] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(path)
    flags = ["--channels", channels, "--run-dir", str(tmp_path / "run"), "--labels-from-folders"]
    assert run(here, *flags, "--epochs", "1", "--grouping.at") == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["cluster_accuracy"] <= 1 and "nmi" not in last
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["channels"] == int(channels) and settings["labels_from_folders"]
    assert run(here, "--batch-size", "81") == 2


def test_kmeans_takes_some_of_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flat image's class is its colour, which k-means finds, from 200 of them as from all."""
    labels = torch.arange(1000) % 2
    images = ImageSet("flat", (labels * 200).to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 8, 8), labels, 2)
    whole = evaluator.context_rows(images, 2)
    monkeypatch.setattr(evaluator, "CONTEXT", 200 * 64)
    seen: list[int] = []
    real = evaluator.metrics.clustering
    monkeypatch.setattr(evaluator.metrics, "clustering", lambda *a: (seen.append(len(a[0])), real(*a))[1])
    assert evaluator.context_rows(images, 2) == pytest.approx(whole) and seen == [200, 200]
    assert whole["kmeans_pixels_accuracy"] == whole["kmeans_pca_accuracy"] == 1.0


def test_a_run_does_not_go_on_with_other_images(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(here / f"{number}.png")
    flags = ["--run-dir", str(tmp_path / "run"), "--batch-size", "16"]
    assert run(here, *flags, "--epochs", "1", "--grouping.at", "1") == 0
    put(here / "new.png")
    assert command_line.run_command(train.main, ["--resume", "--run-dir", str(tmp_path / "run"), "--epochs", "2"]) == 2
    assert "was trained on other images (40 then, 41 now; 1 new: new.png)" in capsys.readouterr().err


def test_mistakes_are_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, named in (
        ((), "holds no images"),
        (("--channels", "2"), "--channels"),
        (("--imbalance", "split"), "--im"),
    ):
        assert run(here, *flags) == 2
        err = capsys.readouterr().err.strip()
        assert named in err and len(err.splitlines()) == 1
    assert command_line.run_command(train.main, RUN.split()) == 2
    assert "--data-dir" in capsys.readouterr().err


def test_more_batch_or_codes_than_images(here: Path) -> None:
    put(here / "1.png")
    config = dataclasses.replace(preset("folder"), data_dir=here, image_size=8)
    with pytest.raises(ConfigError, match="--classes 10: more codes than the data has images, 1; use far fewer"):
        loading.load(config)
    with pytest.raises(ConfigError, match="--batch-size 64: larger than the data, which has 1 image; add images"):
        loading.load(dataclasses.replace(config, classes=1))


def test_a_bad_file_outside_the_subfolders_is_left_out(here: Path) -> None:
    speckled(here / "a" / "1.png", 1)
    speckled(here / "b" / "2.png", 2)
    (here / "broken.png").touch()
    with pytest.raises(ConfigError, match="broken.png lies in"):
        load(here, labels_from_folders=True)
    assert load(here, labels_from_folders=True, skip_bad=True).class_names == ("a", "b")
    speckled(here / "whole.png", 3)
    with pytest.raises(ConfigError, match="whole.png lies in"):
        load(here, labels_from_folders=True, skip_bad=True)
