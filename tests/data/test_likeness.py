"""What images look like, and when others are unlike them: each threshold from both sides, and no false alarm."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_images import PHOTOGRAPHS, cut
from PIL import Image

from fastgan.data import arrays, decode, digits, folder, mnist
from fastgan.data.facts import SOURCE
from fastgan.data.image_set import ImageSet
from fastgan.data.likeness import FEWEST, FIGURES, MARGIN, RARE, TAIL, Look, differences


def a_set(pixels: np.ndarray, **more: Any) -> ImageSet:
    return ImageSet("images", torch.from_numpy(pixels), None, 0, **more)


def grey(count: int, low: int, high: int, seed: int = 0) -> ImageSet:
    """Images of two levels each, half of their pixels dark."""
    pixels = np.full((count, 1, 8, 8), low, np.uint8)
    pixels[..., 4:] = high
    return a_set(pixels)


def patches(names: tuple[str, ...], count: int, seed: int) -> ImageSet:
    """Photographs' patches, RGB of 16x16 pixels."""
    draw = np.random.default_rng(seed)
    found = [np.asarray(cut(names[i % len(names)], 64, draw).resize((16, 16))) for i in range(count)]
    return a_set(np.ascontiguousarray(np.stack(found).transpose(0, 3, 1, 2)))


def part(images: ImageSet, rows: slice | np.ndarray) -> ImageSet:
    return dataclasses.replace(images, images=images.images[rows])


def test_a_look_is_kept_as_json_and_read_back() -> None:
    look = Look.of(digits.full(16))
    assert Look.read(json.loads(json.dumps(look.summary()))) == look
    assert look.images == 1797 and look.coloured == 0 and look.darkest == (0, 0) and look.brightest[1] == 255
    for damaged in (None, 7, {}, look.summary() | {"mean": 3}, look.summary() | {"mean": [1]}):
        assert Look.read(damaged) is None


@pytest.mark.parametrize("name", ["brightest", "darkest", "mean", "contrast"])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_figure_beyond_its_widened_range_is_a_difference(name: str, side: int) -> None:
    """Of a narrow range by MARGIN levels, of a wide one by a quarter of its width."""
    images = grey(50, 100, 150)
    value = {"brightest": 150.0, "darkest": 100.0, "mean": 125.0, "contrast": 25.0}[name]
    all_within = dict.fromkeys(FIGURES, (0.0, 255.0))
    for width, margin in ((10.0, MARGIN), (100.0, 25.0)):
        for beyond in (-0.5, 0.5):
            edge = value - side * (margin + beyond)
            around = (edge - width, edge) if side > 0 else (edge, edge + width)
            look = Look(500, 0.0, **(all_within | {name: around}))
            said = differences(look, images)
            assert (len(said) == 1 and said[0].startswith(FIGURES[name])) == (beyond > 0), (width, beyond, said)


@pytest.mark.parametrize(("outside", "told"), [(25, False), (26, True)])
def test_more_than_half_of_the_images_are_a_difference(outside: int, told: bool) -> None:
    both = torch.cat([grey(outside, 0, 60).images, grey(50 - outside, 0, 250).images])
    assert bool(differences(Look.of(grey(100, 0, 250)), ImageSet("images", both, None, 0))) == told


@pytest.mark.parametrize(("share", "told"), [(RARE, True), (RARE + 0.01, False)])
def test_colours_are_a_difference_where_they_were_rare(share: float, told: bool) -> None:
    colour, drab = patches(("flower",), 60, 0), patches(("flower",), 60, 0)
    drab = dataclasses.replace(drab, images=drab.images[:, :1].expand(-1, 3, -1, -1))
    look = Look.of(colour)
    assert look.coloured == 1
    assert ("in colour, those were grey" in differences(dataclasses.replace(look, coloured=share), colour)) == told
    assert ("grey, those were in colour" in differences(dataclasses.replace(look, coloured=1 - share), drab)) == told


def test_grey_models_know_the_colours_of_files_and_arrays(here: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(24):
        cut("flower", 40, draw).save(here / f"{number}.png")
    (here / "grey.png").write_bytes((here / "0.png").read_bytes())
    with Image.open(here / "0.png") as image:
        image.convert("L").convert("RGB").save(here / "grey.jpg", quality=60)
    found = folder.full(here, 8, 1)
    assert found.facts is not None and found.paths is not None
    assert [path for path, has in zip(found.paths, found.facts.coloured, strict=True) if not has] == ["grey.jpg"]
    assert Look.of(found).coloured == round(25 / 26, 4)
    rgb = patches(("flower",), 30, 0).images.permute(0, 2, 3, 1).numpy()
    for images in (rgb, (rgb / 255).astype(np.float32), np.concatenate([rgb, rgb[..., :1]], axis=3)):
        one = arrays.image_set("a", arrays.Arrays(images, None, None, None), 8, 1)
        assert one is not None and one.images.shape[1] == 1 and Look.of(one).coloured == 1
    repeated = np.repeat(rgb[..., :1], 3, axis=3)
    assert arrays.coloured_share(repeated) == 0 == arrays.coloured_share(rgb[..., 0])


def test_few_training_images_say_little() -> None:
    assert differences(Look.of(grey(FEWEST, 0, 250)), grey(5, 0, 30))
    assert not differences(Look.of(grey(FEWEST - 1, 0, 250)), grey(5, 0, 30))
    assert TAIL < 1 / FEWEST


def test_held_out_images_one_class_of_them_and_few_raise_no_alarm() -> None:
    """Digits and photographs: another half, each class alone, and any 1, 3 or 20 images."""
    full = digits.full(16)
    assert full.labels is not None
    look = Look.of(part(full, slice(0, None, 2)))
    others = part(full, slice(1, None, 2))
    classes = [part(full, (full.labels == label).numpy()) for label in range(10)]
    photographs = Look.of(patches(tuple(PHOTOGRAPHS), 600, 0))
    for images in (others, *classes):
        assert differences(look, images) == []
    for images in (patches(tuple(PHOTOGRAPHS), 300, 1), *(patches((name,), 100, 2) for name in PHOTOGRAPHS)):
        assert differences(photographs, images) == []
    draw = np.random.default_rng(0)
    for count in (1, 3, 20):
        for _ in range(50):
            rows = draw.permutation(len(others.images))[:count]
            assert differences(look, part(others, rows)) == []


def test_images_of_another_kind_are_noticed() -> None:
    full = digits.full(16)
    look = Look.of(full)
    own_scale = dataclasses.replace(full, images=(full.images.float() / 255 * 16).round().to(torch.uint8))
    assert differences(look, own_scale)[0] == "brightest pixels 16 of 255, there 241 to 255"
    inverted = dataclasses.replace(full, images=255 - full.images)
    assert any(said.startswith("mean brightness") for said in differences(look, inverted))
    photographs = patches(tuple(PHOTOGRAPHS), 90, 0)
    as_grey = dataclasses.replace(photographs, images=photographs.images[:, 1:2], coloured=1.0)
    said = differences(look, as_grey)
    assert said[0] == "in colour, those were grey" and any(each.startswith("contrast") for each in said)
    flowers = Look.of(patches(("flower",), 60, 0))
    in_three = dataclasses.replace(full, images=full.images.expand(-1, 3, -1, -1))
    assert differences(flowers, in_three)[0] == "grey, those were in colour"


def test_mnists_test_images_are_like_its_training_images(mnist_dir: Path) -> None:
    pixels = mnist.everything(mnist_dir, 28, "mnist").images
    look = Look.of(ImageSet("mnist", pixels[:60_000], None, 0))
    assert differences(look, ImageSet("mnist", pixels[60_000:], None, 0)) == []
    assert differences(look, ImageSet("mnist", 255 - pixels[60_000:], None, 0))


def test_a_file_is_asked_for_colours_only_where_they_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere its pixels tell, and decoding a small file would take a third longer."""
    cut("flower", 32, np.random.default_rng(0)).save(tmp_path / "a.png")
    asked: list[Image.Image] = []

    def colours(image: Image.Image) -> int:
        asked.append(image)
        return 99

    monkeypatch.setattr(decode, "_chroma", colours)
    for channels in (3, 1):
        found = decode.decode_file(tmp_path / "a.png", decode.Form(16, channels))
        assert isinstance(found, decode.Picture)
        names = [name for name, _ in SOURCE]
        assert (len(asked), found.source[names.index("chroma")]) == ((1, 99) if channels == 1 else (0, 0))
