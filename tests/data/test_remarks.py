"""What is told of a folder's images, and a folder with nothing to learn from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import tiff
from own_images import put
from PIL import Image

from fastgan.config.presets import preset
from fastgan.data import cache, folder, loading
from fastgan.data.identity import identify
from fastgan.errors import DataError
from fastgan.training.resolve import resolve


def noise(path: Path, seed: int, most: int = 256, kind: Any = np.uint8) -> Path:
    values = np.random.default_rng(seed).integers(0, most, (8, 8)).astype(kind)
    values[0, 0] = most - 1
    path.write_bytes(tiff(values))
    return path


def told(here: Path, capsys: pytest.CaptureFixture[str], **how: Any) -> list[str]:
    folder.full(here, 8, 1, **how)
    return [line.removeprefix(f"{here}: ") for line in capsys.readouterr().err.splitlines() if ": decoded " not in line]


def test_flat_and_equal_images_are_counted_once_then_in_short(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        noise(here / f"{number}.tif", number)
    put(here / "flat.png", 9)
    (here / "twin.tif").write_bytes((here / "1.tif").read_bytes())
    full = [
        "1 of 5 images is of (nearly) one colour, at most 8 of 255 levels apart (flat.png)",
        "1 of 5 images is equal to another once decoded (twin.tif and 1.tif)",
    ]
    assert told(here, capsys) == full
    again = f", as told before; python -m fastgan.check {here} says more"
    for _ in range(2):
        assert told(here, capsys) == [f"2 remarks on the images{again}"]
    (here / "bad.png").touch()
    with pytest.raises(DataError):  # which says nothing but that
        told(here, capsys)
    assert capsys.readouterr().err.count("\n") == 0
    first, *others = told(here, capsys, skip_bad=True)
    assert first.startswith("left out 1 bad file, listed in ") and others == full
    assert told(here, capsys, skip_bad=True) == [f"left out 1 bad file and 2 remarks on the images{again}"]
    assert told(here, capsys, skip_bad=True, ground="white")[1:] == full  # decoded otherwise, and told of that


def test_a_cache_that_may_only_be_read_is_told_of_in_full(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.touch

    def touch(self: Path) -> None:
        if self.suffix == folder.TOLD:
            raise PermissionError
        real(self)

    noise(here / "a.tif", 0)
    put(here / "flat.png", 9)
    monkeypatch.setattr(Path, "touch", touch)
    for _ in range(2):
        assert "of (nearly) one colour" in told(here, capsys)[0]


def test_images_of_other_kinds_are_named_each_time(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise(here / "a.tif", 0)
    for name in ("b.HEIC", "c.heic", "d.gif"):
        (here / name).touch()
    expected = "not read: 1 GIF file (d.gif), 2 HEIC files (b.HEIC and others); "
    expected += "convert them to JPEG, PNG or TIFF to have them in"
    for _ in range(2):
        assert told(here, capsys) == [expected]
    (here / "a.tif").unlink()
    with pytest.raises(DataError, match="holds no images; looked for .*; not read: 1 GIF file"):
        folder.full(here, 8, 1)


def test_one_range_for_a_folder_is_kept_for_what_is_read_later(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        noise(here / f"{number}.tif", number, 1000 * (number + 1), np.uint16)
    config = dataclasses.replace(preset("folder"), data_dir=here, image_size=8, channels=1, batch_size=2, classes=2)
    images = loading.load(config)
    assert "4 grey images of more than 8 bits (0.tif): values" in (err := capsys.readouterr().err)
    assert "to 3999, of which 0 to 4095 become black to white (--intensity-range)" in err
    expected = [round(most * 255 / 4095) for most in (999, 1999, 2999, 3999)]
    assert images.images[:, 0, 0, 0].tolist() == expected
    chosen = resolve(config, images)[0]
    assert chosen.intensity_range == (0.0, 4095.0)
    again = loading.load(chosen)
    assert "decoded" not in capsys.readouterr().err  # the cache knows that it is the range that was chosen
    assert identify(again).digest == identify(images).digest
    for kept in cache.place(here).iterdir():
        kept.unlink()
    assert identify(loading.load(chosen)).digest == identify(images).digest  # and without it
    (here / "3.tif").unlink()
    capsys.readouterr()
    assert loading.load_folder(chosen, here, skip_bad=False).images[:, 0, 0, 0].tolist() == expected[:3]


def test_ink_on_transparent_paper(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        alpha = Image.open(noise(here / "x.tif", number))
        Image.merge("LA", (Image.new("L", (8, 8)), alpha)).save(here / f"{number}.png")
    (here / "x.tif").unlink()
    assert told(here, capsys)[0] == (
        "4 of 4 images are transparent, and of one colour on --ground black (0.png); try --ground white"
    )
    assert told(here, capsys, ground="white") == []
    config = dataclasses.replace(preset("folder"), data_dir=here, image_size=8, channels=1, batch_size=2, classes=2)
    with pytest.raises(DataError, match="all 4 images .* 4 of them transparent on --ground black; name another"):
        loading.load(config)
    loading.load(dataclasses.replace(config, ground="white"))


@pytest.mark.parametrize("equal", [False, True])
def test_a_folder_that_shows_nothing_is_refused(here: Path, equal: bool) -> None:
    for number in range(4):
        noise(here / f"{number}.tif", 0) if equal else put(here / f"{number}.png", 50 * number)
    config = dataclasses.replace(preset("folder"), data_dir=here, image_size=8, channels=1, batch_size=2, classes=2)
    with pytest.raises(DataError, match="all 4 images are of .nearly. one colour or equal .*give images that differ"):
        loading.load(config)


def test_facts_are_kept_with_the_cache(here: Path) -> None:
    Image.new("RGB", (30, 20), (9, 9, 9)).save(here / "a.jpg")
    noise(here / "b.tif", 1, 4096, np.uint16)
    for _ in range(2):
        facts = folder.full(here, 8, 1, intensity_range="auto").facts
        assert facts is not None and len(facts) == 2
        assert facts.rows["format"].tolist() == [b"JPEG", b"TIFF"] and facts.rows["width"].tolist() == [30, 8]
        assert facts.rows["high"][1] == 4095 and np.isnan(facts.rows["high"][0])
        assert facts.flat.tolist() == [True, False] and facts.deep.tolist() == [False, True]
        assert facts.rows["brightest"][1] == 255 and facts.telling() == 1
