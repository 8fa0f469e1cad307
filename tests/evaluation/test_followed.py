"""What groups follow: told of groups made by a property, with its name and pictures, and not of groups by class."""

from __future__ import annotations

import os
from pathlib import Path

import cells
import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.data import digits, folder
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import followed, properties
from fastgan.evaluation.diagnosis import Finding
from fastgan.evaluation.followed import Kinds, Looked
from fastgan.evaluation.properties import Property


def said(images: ImageSet, codes_N: Kinds, *, place: Path | None = None, labelled: bool = False) -> Finding | None:
    """What is said of groups of all images."""
    every, labels = torch.arange(len(codes_N)), images.labels
    looked = Looked(every.numpy(), codes_N, labels.numpy() if labelled and labels is not None else None)
    found = followed.follow(codes_N, properties.measure(images, place, every), looked.labels_M)
    return followed.finding(found, looked)


def by_laboratory(images: ImageSet) -> Kinds:
    return np.array([cells.LABORATORIES.index(path.split("/")[0]) for path in images.paths or ()])


def test_a_score_is_zero_by_chance_and_one_for_groups_that_give_it_away() -> None:
    random = np.random.default_rng(0)
    kinds = random.integers(0, 4, 1000)
    assert followed.told(7 - kinds, kinds)[0] == pytest.approx(1.0)
    assert followed.told(2 * kinds + random.integers(0, 2, 1000), kinds)[0] > 0.99, "each group is of one kind"
    assert abs(followed.told(random.permutation(kinds), kinds)[0]) < 0.02
    assert followed.told(np.zeros(1000, int), kinds) == (0.0, 0.0, 1)
    assert followed.told(kinds, kinds, kinds) == (0.0, 0.0, 1), "within a class there is nothing left to be told"


def test_few_images_are_judged_against_what_chance_gives_so_few() -> None:
    """Five images and four groups: nearly every order scores as high as this one."""
    score, chance, _ = followed.told(np.array([0, 1, 2, 3, 3]), np.array([0, 1, 2, 3, 3]))
    assert score == pytest.approx(1.0) and chance == pytest.approx(1.0)
    one = followed.Followed(Property("brightness"), score, chance, 4)
    assert not one.clearly


def test_fewer_groups_need_a_higher_score_unless_only_the_place_of_the_file_tells() -> None:
    shown = [followed.threshold(bins) for bins in (2, 3, 4, 5, 6, 10)]
    assert shown == pytest.approx([0.7, 0.6, 0.5, 0.4, 0.3, 0.3])
    assert followed.threshold(2, shown=False) == 0.3


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
def test_groups_by_stain_follow_colour_and_laboratory_not_the_labels(strength: float) -> None:
    images = cells.image_set(300, strength=strength)
    found = said(images, by_laboratory(images), place=Path("nowhere"), labelled=True)
    assert found is not None and found.title.startswith("The groups follow ")
    follows, _, rest = found.text.partition(", not ")
    assert "mean colour" in follows and "subfolder (0.99)" in follows
    assert rest.startswith("the labels (0.0") or rest.startswith("the labels (-0.0")
    assert "--transform.hue" in found.remedy and "laboratories" in found.remedy


def test_pictures_show_the_extremes() -> None:
    images = cells.image_set(300)
    groups = by_laboratory(images)
    found = said(images, groups)
    assert found is not None and found.title == "The groups follow mean colour"
    assert "0 is chance" in found.text and "labels" not in found.text
    one, other = found.shown
    assert {one.caption.split(":")[0], other.caption.split(":")[0]} == {"Group 0", "Group 1"}
    for shown in (one, other):
        assert len(shown.images) == followed.PICTURES
        assert len({int(groups[i]) for i in shown.images}) == 1
        assert shown.caption.startswith(f"Group {groups[shown.images[0]]}: ")


def test_stains_that_split_every_shape_are_found_beside_right_labels() -> None:
    images = cells.image_set(600)
    assert images.labels is not None
    found = said(images, 2 * images.labels.numpy() + by_laboratory(images), labelled=True)
    assert found is not None and "mean colour" in found.text and "within one class" in found.text


@pytest.mark.parametrize("labelled", [True, False])
def test_groups_by_shape_follow_nothing(labelled: bool) -> None:
    images = cells.image_set(300)
    assert images.labels is not None
    assert said(images, images.labels.numpy(), place=Path("nowhere"), labelled=labelled) is None


@pytest.mark.parametrize("labelled", [True, False])
def test_the_classes_of_digits_raise_no_alarm(labelled: bool) -> None:
    images = digits.full(16)
    assert images.labels is not None
    assert said(images, images.labels.numpy(), labelled=labelled) is None


@pytest.mark.parametrize("name", ["brightness", "contrast", "sharpness"])
@pytest.mark.parametrize("groups", [4, 10])
def test_groups_of_digits_by_one_quantity_are_named_after_it(name: str, groups: int) -> None:
    images = digits.full(16)
    (values,) = [
        each.values_MD for each in properties.of_pixels(images.images, torch.arange(1797)) if each.name == name
    ]
    assert values is not None
    codes = np.argsort(np.argsort(values[:, 0])) * groups // len(values)
    for labelled in (True, False):
        found = said(images, codes, labelled=labelled)
        assert found is not None and found.title == f"The groups follow {name}"
        lowest, highest = found.shown
        assert lowest.caption == f"Group 0: {followed.ENDS[name][0]}" and int(values[:, 0].argmin()) in lowest.images
        assert highest.caption == f"Group {groups - 1}: {followed.ENDS[name][1]}"


@pytest.fixture
def place(here: Path) -> Path:
    """Files of noise: of one laboratory large bitmaps of last year, of the other small PNG files of today."""
    random = np.random.default_rng(0)
    for number in range(60):
        old = number % 2 == 0
        file = here / ("old" if old else "new") / f"{number:02d}.{'bmp' if old else 'png'}"
        file.parent.mkdir(exist_ok=True)
        side = 24 if old else 16
        Image.fromarray(random.integers(0, 256, (side, side), dtype=np.uint8)).save(file)
        if old:
            os.utime(file, (1_700_000_000 + number, 1_700_000_000 + number))
    return here


def test_where_files_come_from_is_told_and_a_file_that_has_gone_is_left_out(place: Path) -> None:
    images = folder.full(place, 16, 1)
    codes = np.array([path.startswith("old") for path in images.paths or ()]).astype(np.int64)
    (place / "old" / "00.bmp").unlink()
    found = {
        each.what.name: each for each in followed.follow(codes, properties.measure(images, place, torch.arange(60)))
    }
    for name in ("subfolder", "file format", "image size", "file size", "file date"):
        assert found[name].clearly and found[name].score > 0.95, name
    size = found["file size"].what
    assert size.known.sum() == 59 and not size.known[images.paths.index("old/00.bmp") if images.paths else 0]
    text = said(images, codes, place=place)
    assert text is not None and "the kinds that you look for" in text.remedy and len(text.shown) == 2
    assert {shown.caption for shown in text.shown} == {
        "Group 0: 100% from subfolder new",
        "Group 1: 100% from subfolder old",
    }


def test_the_order_of_one_copy_is_no_date(place: Path) -> None:
    images = folder.full(place, 16, 1)
    for number, path in enumerate(images.paths or ()):
        os.utime(place / path, (1_700_000_000 + number, 1_700_000_000 + number))
    assert "file date" not in [each.name for each in properties.measure(images, place, torch.arange(60))]


def test_images_that_are_no_files_have_pixels_only() -> None:
    images = ImageSet("arrays", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), None, 0)
    assert [each.name for each in properties.measure(images, None, torch.arange(4))] == [
        "brightness",
        "contrast",
        "sharpness",
    ]
    grey = ImageSet("grey", torch.zeros(4, 3, 8, 8, dtype=torch.uint8), None, 0)
    assert "mean colour" not in [each.name for each in properties.measure(grey, None, torch.arange(4))]


def test_pixels_are_measured_as_defined() -> None:
    image = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    image[:, 0, :, :2], image[:, 2, :, 2:] = 255, 255  # red left, blue right
    found = {each.name: each.values_MD for each in properties.of_pixels(torch.cat([image, 0 * image]), torch.arange(2))}
    assert found["brightness"] is not None and found["brightness"][0, 0] == pytest.approx((0.299 + 0.114) / 2)
    assert found["contrast"] is not None and found["contrast"][0, 0] == pytest.approx((0.299 - 0.114) / 2)
    # Inside, the Laplacian is +/- the step between the two luminances.
    assert found["sharpness"] is not None and found["sharpness"][0, 0] == pytest.approx((0.299 - 0.114) ** 2)
    assert found["mean colour"] is not None and found["mean colour"][0].tolist() == pytest.approx([0.5, 0.25])
