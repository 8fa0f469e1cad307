"""YouTube-Faces: which people and frames are used and in which order, the crop, caches, and other layouts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_images import youtube_faces_tree
from PIL import Image

from fastgan.config.presets import preset
from fastgan.data import cache, faces, loading, workers
from fastgan.data.decode import Form
from fastgan.data.image_set import ImageSet
from fastgan.errors import ConfigError, DataError

ALIGNED, WHOLE = faces.TREES


def load(here: Path, size: int = 8, channels: int = 1, **options: Any) -> ImageSet:
    options = {"identities": 2, "frame_stride": 1, "skip_bad": False} | options
    return faces.full(here, size, channels, **options)


def frame(here: Path, person: str, video: int, number: int, *, tree: str = ALIGNED, grey: int = 7) -> Path:
    """A small frame of one grey."""
    prefix = "aligned_detect_" if tree == ALIGNED else ""
    path = here / tree / person / str(video) / f"{prefix}{video}.{number}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)
    return path


def greys(images: ImageSet) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


# --- which frames, in which order ---


def test_people_by_name_then_videos_and_frames_by_number(here: Path) -> None:
    wanted = [("Ann", 2, 9), ("Ann", 2, 10), ("Ann", 2, 100), ("Ann", 10, 1), ("Ann-Bo", 0, 3), ("Ann_Bo", 7, 3)]
    for number, each in reversed(list(enumerate(wanted))):
        frame(here, *each, grey=10 * number)
    images = load(here, identities=3)
    names = [f"{ALIGNED}/{person}/{video}/aligned_detect_{video}.{number}.jpg" for person, video, number in wanted]
    assert list(images.paths or ()) == names and greys(images) == [0, 10, 20, 30, 40, 50]
    assert images.name == "youtube-faces" and images.class_names == ("Ann", "Ann-Bo", "Ann_Bo")
    assert images.label_count == 3 and images.labels is not None and images.labels.tolist() == [0, 0, 0, 0, 1, 2]
    assert all((here / name).is_file() for name in images.paths or ())


def test_the_first_people_that_have_frames(here: Path, decoded: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for number, person in enumerate(("Dee", "Cy", "Bo")):
        frame(here, person, number, number)
    (here / ALIGNED / "Al").mkdir()
    (here / ALIGNED / "Ax" / "3").mkdir(parents=True)
    (here / ALIGNED / "Bo" / "2" / "notes.txt").touch()
    (here / ALIGNED / "Bo.txt").touch()
    assert load(here).class_names == ("Bo", "Cy")
    assert sorted(decoded) == ["aligned_detect_1.1.jpg", "aligned_detect_2.2.jpg"]  # nothing of Dee
    with pytest.raises(ConfigError, match=f"^--identities 4: only 3 people in {here / ALIGNED} have frames; lower it$"):
        load(here, identities=4)
    capsys.readouterr()


def test_a_stride_goes_through_each_video(here: Path) -> None:
    for person, video, count in (("Al", 0, 5), ("Al", 3, 2), ("Bo", 1, 4)):
        for number in range(8, 8 + count):
            frame(here, person, video, number)
    kept = [path.rpartition("detect_")[2] for path in load(here, frame_stride=3).paths or ()]
    assert kept == ["0.8.jpg", "0.11.jpg", "3.8.jpg", "1.8.jpg", "1.11.jpg"]


def test_a_summary_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    youtube_faces_tree(here, people=3, videos=3, frames=2)
    load(here, identities=3)
    lines = capsys.readouterr().err.splitlines()
    tree = here / ALIGNED
    counts = "3 people, 9 videos, 27 frames, from 12 of Person_C to 6 of Person_A"
    assert lines[1:] == [f"{tree}: {counts}; of each the central 110 x 110 pixels"]
    load(here, frame_stride=2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2 people, 6 videos, 9 frames (one in 2), from 6 of Person_B to 3 of Person_A;" in last


@pytest.mark.parametrize("tree", faces.TREES)
def test_either_tree_and_the_folder_itself(here: Path, tree: str) -> None:
    youtube_faces_tree(here, people=2, frames=2, tree=tree)
    whole, itself = load(here), load(here / tree)
    assert torch.equal(whole.images, itself.images) and whole.class_names == itself.class_names
    assert list(whole.paths or ()) == [f"{tree}/{path}" for path in itself.paths or ()]
    moved = (here / tree).rename(here / "another name")
    assert load(moved).paths == itself.paths


def test_aligned_frames_are_preferred(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for person in ("Al", "Bo"):
        frame(here, person, 0, 1, grey=100)
        frame(here, person, 0, 1, tree=WHOLE, grey=50)
    assert greys(load(here)) == [100, 100]
    assert capsys.readouterr().err.endswith("; frame_images_DB is there too and was not read\n")
    assert greys(load(here / WHOLE)) == [50, 50]
    assert "not read" not in capsys.readouterr().err


# --- the crop ---


@pytest.mark.parametrize("side", [301, 319])
@pytest.mark.parametrize("size", [110, 55])
def test_the_middle_of_a_frame_in_its_own_pixels(here: Path, side: int, size: int) -> None:
    """A marked square of 110 pixels fills the image, and the frame around it leaves no trace at any size."""
    start = (side - 110) // 2
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[start : start + 110, start : start + 110] = np.random.default_rng(0).integers(0, 256, (110, 110, 3))
    for person in ("Al", "Bo"):
        Image.fromarray(pixels).save(frame(here, person, 0, 1), quality=95)
    (image, _) = load(here, size, 3).images.numpy()
    with Image.open(here / ALIGNED / "Al" / "0" / "aligned_detect_0.1.jpg") as opened:
        middle = opened.crop((start, start, start + 110, start + 110))
        expected = np.asarray(middle.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    np.testing.assert_array_equal(image, expected)


def test_the_face_stays_in_the_middle_of_frames_of_any_size(here: Path) -> None:
    """The same face, the same image, up to JPEG's blocks; without the crop it would be far off."""
    images = load(youtube_faces_tree(here, people=2, videos=2, frames=1), 64, 3)
    small, large = images.images[0].double(), images.images[1].double()
    assert (small - large)[:, 4:-4, 4:-4].abs().mean() < 6
    (batch,) = workers.decode_files([here / images.paths[0]], Form(64, 3)) if images.paths else ()
    assert not batch.bad and np.abs(batch.images[0] - small.numpy())[:, 4:-4, 4:-4].mean() > 20


def test_a_smaller_frame_gives_its_largest_square(here: Path) -> None:
    pixels = np.zeros((60, 90), np.uint8)
    pixels[:, 15:75] = 200
    for person in ("Al", "Bo"):
        Image.fromarray(pixels).save(frame(here, person, 0, 1).with_suffix(".png"))
        frame(here, person, 0, 1).unlink()
    assert set(load(here).images.flatten().tolist()) == {200}


# --- bad frames and other trees ---


def test_a_bad_frame_is_named_or_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for person in ("Al", "Bo", "Cy"):
        for number in (1, 2):
            frame(here, person, 0, number)
    for person in ("Bo", "Cy"):  # nobody looks at Cy
        (here / ALIGNED / person / "0" / "aligned_detect_0.2.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 4 images .*Bo/0/aligned_detect_0.2.jpg: empty file.*--skip-bad$"):
        load(here)
    images = load(here, skip_bad=True)
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1]
    assert "2 people, 2 videos, 3 frames, from 2 of Al to 1 of Bo" in capsys.readouterr().err


@pytest.mark.parametrize(
    "files, found",
    [
        ([], "nothing"),
        (["b.png", "a.txt", ".hidden"], "a.txt, b.png"),
        ([f"{n}.png" for n in range(7)], "0.png, 1.png, 2.png, 3.png, 4.png and 2 more"),
        (["Al/0.1.jpg", "Bo/2/5.jpg"], "Al/0.1.jpg, Bo/2/5.jpg"),
        (["YouTubeFaces/aligned_images_DB/Al/0/0.1.jpg"], "YouTubeFaces/aligned_images_DB/Al/0/0.1.jpg"),
    ],
    ids=str,
)
def test_another_layout_is_reported_with_what_was_found(here: Path, files: list[str], found: str) -> None:
    for name in files:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(here / name, "PNG")
    expected = f"expected aligned_images_DB or frame_images_DB in it, or {faces.LAYOUT}, found {found}"
    with pytest.raises(DataError) as caught:
        load(here)
    assert str(caught.value).startswith(f"{here}: not YouTube-Faces; {expected}; name its folder")
    assert not cache.cache_dir(None).exists()


def test_an_empty_tree_and_no_tree(here: Path) -> None:
    (here / WHOLE).mkdir()
    for path in (here, here / WHOLE):
        with pytest.raises(DataError, match=f"^{here / WHOLE}: not YouTube-Faces; expected <person>.*, found nothing;"):
            load(path)
    with pytest.raises(DataError, match="absent: no such folder"):
        load(here / "absent")


# --- caches, and what reads them ---


def test_each_choice_is_decoded_once(here: Path, decoded: list[str]) -> None:
    youtube_faces_tree(here, people=3, videos=1, frames=4)  # 4, 5 and 6 frames
    choices: list[tuple[dict[str, Any], int]] = [
        ({}, 9),
        ({"identities": 3}, 15),
        ({"frame_stride": 2}, 5),
        ({"size": 16}, 9),
        ({"channels": 3}, 9),
    ]
    for _ in range(2):
        for options, count in choices:
            assert len(load(here, **options).images) == count
    assert len(decoded) == sum(count for _, count in choices)


def test_another_crop_reads_no_old_cache(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    youtube_faces_tree(here, people=2, videos=1, frames=1)
    before = load(here).images.clone()
    monkeypatch.setattr(faces, "CROP", 50)
    assert not torch.equal(load(here).images, before)


def test_a_runs_images_and_those_of_any_folder(
    here: Path, decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """In any folder a frame is cropped and other files are not, and caches are not mixed up."""
    youtube_faces_tree(here, people=2, videos=2, frames=3)
    config = dataclasses.replace(preset("youtube-faces"), data_dir=here, identities=2, classes=2, batch_size=2)
    own = loading.load(config)
    assert own.images.shape == (14, 3, 64, 64) and own.images.dtype == torch.uint8
    by_path = dict(zip(own.paths or (), own.images, strict=True))
    Image.new("L", (301, 301), 9).save(here / "other.png")
    images = loading.load_folder(config, here, skip_bad=False)
    assert images.labels is None and len(images.images) == 15
    assert "14 of 15 images are frames of YouTube-Faces" in capsys.readouterr().err
    for path, image in zip(images.paths or (), images.images, strict=True):
        assert path == "other.png" or torch.equal(image, by_path[path])
    part = f"{ALIGNED}/Person_B/2"
    images = loading.load_folder(config, here / part, skip_bad=False)
    for path, image in zip(images.paths or (), images.images, strict=True):
        assert torch.equal(image, by_path[f"{part}/{path}"])
    whole = loading.load_folder(dataclasses.replace(config, dataset="folder"), here / part, skip_bad=False)
    assert whole.paths == images.paths and not torch.equal(whole.images, images.images)
    count = len(decoded)
    assert torch.equal(loading.load_folder(config, here / part, skip_bad=False).images, images.images)
    assert len(decoded) == count  # what the run on a folder has read is kept beside it
