"""What a folder holds, the settings that suit it, and what lies in the cache."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from own_images import load, put
from PIL import Image

from fastgan.data import cache, cache_contents
from fastgan.data.advice import advice
from fastgan.data.facts import ROW, Facts
from fastgan.data.survey import Sample, Survey, survey
from fastgan.errors import DataError
from fastgan.runtime.file_lock import lock_opened

RANDOM = np.random.default_rng(0)
NOTHING = Facts(np.zeros(0, ROW))


def noise(path: Path, side: int, mode: str = "RGB") -> None:
    """An image of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (side, side + 1, 3), dtype=np.uint8)).convert(mode).save(path)


@pytest.fixture
def mixed(here: Path) -> Path:
    """Nine good images in two subfolders and outside, a copy among them, and four files that cannot be used."""
    for number in range(4):
        noise(here / "cats" / f"{number}.png", 20 + number)
    for number in range(2):
        noise(here / "dogs" / "young" / f"{number}.jpg", 40, "L")
    put(here / "dogs" / "dark.png", 3)
    noise(here / "loose.bmp", 30)
    (here / "loose-2.bmp").write_bytes((here / "loose.bmp").read_bytes())
    (here / "empty.png").touch()
    (here / "words.jpg").write_text("no image")
    (here / "cut.png").write_bytes((here / "cats" / "0.png").read_bytes()[:-900])
    (here / "notes.txt").write_text("other")
    (here / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    os.mkfifo(here / "pipe.png")
    return here


def test_a_survey_counts_what_is_there_and_names_what_is_wrong(mixed: Path) -> None:
    found = survey(mixed, 16, 3)
    assert found.kinds == {"PNG": 6, "JPEG": 2, "BMP": 2} and found.images == 10
    assert found.modes == {"RGB": 7, "L": 3}
    assert found.classes == {"cats": 4, "dogs": 3, "": 3}
    assert sorted(found.sides.min(1).tolist())[1:] == [20, 20, 21, 22, 23, 30, 30, 40, 40]
    assert found.copies == (("loose-2.bmp", "loose.bmp"),)
    assert found.sample.flat == ("dogs/dark.png",) and len(found.sample.remarks()) == 2  # and the copy
    assert [path for path, _ in found.bad] == ["cut.png", "empty.png", "pipe.png", "words.jpg"]
    reasons = dict(found.bad)
    assert reasons["empty.png"] == "empty file" and reasons["pipe.png"] == "not a regular file"
    assert reasons["words.jpg"] == "not an image of a supported format"
    assert found.ignored == 1 and found.unsupported == (("HEIC", 1, "phone.heic"),) and not found.grey
    assert len(found.sample.paths) == 9 and found.sample.images.shape == (9, 3, 16, 16)
    assert found.size == sum(each.stat().st_size for each in mixed.rglob("*") if each.is_file()) - len("other") - 12


def test_a_survey_decodes_a_sample_spread_over_the_folder(tmp_path: Path) -> None:
    for number in range(30):
        put(tmp_path / f"{number:02}.png", 8 * number)
    found = survey(tmp_path, 8, 1, sample=4)
    assert found.images == 30 and found.sample.paths == ("00.png", "10.png", "19.png", "29.png")
    assert found.sample.images.float().mean((1, 2, 3)).tolist() == pytest.approx([0, 80, 152, 232], abs=1)
    assert found.grey and len(found.sample.flat) == 4 and "of (nearly) one colour" in found.sample.remarks()[0]


def test_the_range_of_deep_images_is_that_of_the_sample(tmp_path: Path) -> None:
    for number in range(3):
        values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 20 * (number + 1)
        Image.fromarray(values).save(tmp_path / f"{number}.tif")
    found = survey(tmp_path, 8, 1)
    assert found.sample.intensity_range == (0.0, 3780.0) or found.sample.intensity_range == (0.0, 4095.0)
    assert found.sample.images.amax((1, 2, 3)).tolist() == sorted(found.sample.images.amax((1, 2, 3)).tolist())
    assert found.sample.images.max() > 200 and any("more than 8 bits" in line for line in found.sample.remarks())


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        survey(tmp_path, 8, 1)


def made(count: int = 5000, side: int = 200, **changes: object) -> Survey:
    """What a survey of ordinary photographs would find."""
    images = torch.from_numpy(RANDOM.integers(0, 256, (3, 3, 8, 8), dtype=np.uint8))
    sample = Sample(images, ("a", "b", "c"), (), 1.0, NOTHING)
    sides = np.full((count, 2), side)
    plain = Survey(Path("photos"), 1, Counter(), Counter(), sides, Counter({"": count}), (), (), 0, (), sample)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


GREY = Sample(torch.full((3, 3, 8, 8), 7, dtype=torch.uint8), ("a", "b", "c"), (), 1.0, NOTHING)


@pytest.mark.parametrize(
    ("found", "on_gpu", "flags"),
    [
        (made(), True, {"--classes": "10"}),
        (made(), False, {"--classes": "10", "--network.width": "32", "--network.hidden": "512"}),
        (made(classes=Counter(a=10, b=20, c=30)), True, {"--classes": "3"}),
        (made(classes=Counter({"a": 10, "b": 20, "": 1})), True, {"--classes": "10"}),
        (made(classes=Counter(train=10, Test=20)), True, {"--classes": "10"}),
        (made(classes=Counter({str(each): 1 for each in range(500)})), True, {"--classes": "10"}),
        (made(side=28), True, {"--classes": "10", "--image-size": "28"}),
        (made(side=33), True, {"--classes": "10", "--image-size": "32"}),
        (made(sample=GREY), True, {"--classes": "10", "--channels": "1"}),
        (made(count=100), True, {"--classes": "10", "--batch-size": "10"}),
        (made(bad=(("a.png", "empty file"),)), True, {"--classes": "10", "--skip-bad": ""}),
    ],
)
def test_advice_follows_from_what_was_found(found: Survey, on_gpu: bool, flags: dict[str, str]) -> None:
    given = advice(found, on_gpu)
    assert {each.flag: each.value for each in given} == flags
    assert all(each.why for each in given)


def test_the_cache_is_listed_and_emptied_but_for_what_is_being_written(here: Path, tmp_path: Path) -> None:
    other, judges = tmp_path / "others", cache.cache_dir(None) / "judges"
    put(here / "1.png", 1)
    put(other / "2.png", 2)
    load(here)
    load(other)
    judges.mkdir()
    (judges / "a.safetensors").write_bytes(b"x" * 70_000)
    kept = cache_contents.contents()
    assert [(each.kind, each.of) for each in kept[:1]] == [("judge", "")] and kept[0].size == 70_000
    assert {each.of for each in kept[1:]} == {str(here), str(other)}
    assert all(each.size == sum(file.stat().st_size for file in each.path.iterdir()) for each in kept[1:])
    with (cache.place(here) / "1.npy.tmp").open("wb") as partial:
        lock_opened(partial)
        freed = cache_contents.empty()
    assert freed == sum(each.size for each in kept if each.of != str(here))
    assert [each.of for each in cache_contents.contents()] == [str(here)]
    cache_contents.empty()
    assert cache_contents.contents() == () and len(load(here).images) == 1
