"""Images with nothing to learn from, and images too dark for their type: one rule, whatever they come from."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable
from pathlib import Path

import hf_stand_in
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from fastgan.data import loading, published, remarks
from fastgan.data.image_set import ImageSet
from fastgan.data.survey import survey
from fastgan.errors import DataError

Pixels = NDArray[np.uint8]
COUNT = 1200  # images of an array, more than are read at a time
FILES = 50  # the last of them, of which files are made
RANDOM = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8), dtype=np.uint8)


def config(dataset: str, place: Path) -> TrainConfig:
    words = f"--dataset {dataset} --data-dir {place} --image-size 8 --channels 1 --batch-size 4 --classes 2".split()
    return train_config(words, lambda _: pytest.fail("nothing is resumed"))


def as_folder(place: Path, images: Pixels, patch: pytest.MonkeyPatch) -> TrainConfig:
    place.mkdir()
    for number, pixels in enumerate(images[-FILES:]):
        Image.fromarray(pixels).save(place / f"{number:04}.png")
    return config("folder", place)


def as_npz(place: Path, images: Pixels, patch: pytest.MonkeyPatch) -> TrainConfig:
    np.savez(place.with_suffix(".npz"), images=images)
    return config("npz", place.with_suffix(".npz"))


def as_hugging_face(place: Path, images: Pixels, patch: pytest.MonkeyPatch) -> TrainConfig:
    patch.setitem(sys.modules, "datasets", hf_stand_in)
    files = []
    for pixels in images[-FILES:]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    features = hf_stand_in.Features({"image": hf_stand_in.Image()})
    hf_stand_in.Dataset.from_dict({"image": files}, features).save_to_disk(str(place))
    return config("hf", place)


def as_named(place: Path, images: Pixels, patch: pytest.MonkeyPatch) -> TrainConfig:
    """A published data set whose reader finds these."""
    found = ImageSet("usps", torch.from_numpy(images[:, None]), torch.arange(len(images)) % 10, 10)
    patch.setitem(published.READERS, "usps", lambda folder, which: found)
    return config("usps", place)


SOURCES: dict[str, Callable[[Path, Pixels, pytest.MonkeyPatch], TrainConfig]] = {
    "folder": as_folder,
    "npz": as_npz,
    "hf": as_hugging_face,
    "named": as_named,
}


def flats(levels: int) -> Pixels:
    """Images of one colour each, of different levels."""
    return np.repeat(np.arange(COUNT, dtype=np.uint8) % levels, 64).reshape(COUNT, 8, 8)


NEARLY = flats(100) + RANDOM % np.uint8(9)  # no two are equal, and 8 levels apart at most
ALMOST = np.concatenate([NEARLY[1:], RANDOM[:1]])
NOTHING = {
    "equal": np.repeat(RANDOM[:1], COUNT, axis=0),
    "flat": flats(100),
    "nearly flat": NEARLY,
    "all but one flat": ALMOST,
}
SOMETHING = {"two at the end": np.concatenate([NEARLY[2:], RANDOM[:2]]), "nine levels": np.minimum(RANDOM, 9)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", NOTHING)
def test_every_source_refuses_images_of_which_no_two_show_anything_different(
    source: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = SOURCES[source](tmp_path / "images", NOTHING[kind], monkeypatch)
    with pytest.raises(DataError, match="all (1,200|50) images are of .nearly. one colour or equal") as refused:
        loading.load(own)
    said = str(refused.value)
    assert said.startswith(f"{own.data_dir}: ") and "; give images that differ" in said and "\n" not in said


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", SOMETHING)
def test_no_source_refuses_two_images_that_show_something(
    source: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = SOURCES[source](tmp_path / "images", SOMETHING[kind], monkeypatch)
    assert len(loading.load(own).images) in (COUNT, FILES)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("most", "said"), [(7, True), (16, True), (63, True), (64, False), (255, False)])
def test_values_of_a_scale_of_their_own_are_told(
    source: str, most: int, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of 0 to 16 of 255, as in digits, are taken as they are, and a line says so; those of 0 to 7 are refused
    as images of nearly one colour, with the same remedy."""
    images = np.minimum(RANDOM[:40], most).astype(np.uint8)
    own = SOURCES[source](tmp_path / "images", images, monkeypatch)
    remedy = f"if their values have a scale of their own, such as 0 to {most}, stretch them to 0 to 255"
    if most < 8:
        with pytest.raises(DataError, match=remedy):
            loading.load(own)
        return
    line = remarks.of_scale(loading.load(own))
    assert line == (f"no pixel is above {most} of 255, and they are taken as they are; {remedy}" if said else None)
    if source == "folder":
        assert own.data_dir is not None
        assert (line in survey(own.data_dir, 8, 1).sample.remarks()) == said


def test_black_images_have_no_scale() -> None:
    black = ImageSet("images", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), None, 0)
    assert remarks.of_scale(black) is None
    assert "scale" not in (remarks.nothing_to_learn(black, "black") or "scale")
    one = dataclasses.replace(black, images=black.images[:1])
    assert remarks.nothing_to_learn(one, "black") is None  # refused for its number elsewhere
