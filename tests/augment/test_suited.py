"""Transforms chosen from the images alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastgan.augment.suited import MIRRORED, PLAIN, STEADY, describe_choice, measure, resolve_transform, suited
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig, TransformConfig
from fastgan.config.train_command import train_config
from fastgan.data import loading
from fastgan.data.image_set import ImageSet

COUNT, SIZE = 300, 28


def places(generator: torch.Generator) -> list[tuple[int, int]]:
    return [(int(y), int(x)) for y, x in torch.randint(4, 10, (COUNT, 2), generator=generator)]


def writing() -> Tensor:
    """White corners, open to the same side, on black."""
    images = torch.zeros(COUNT, 1, SIZE, SIZE, dtype=torch.uint8)
    for image, (y, x) in zip(images, places(torch.Generator().manual_seed(0)), strict=True):
        image[0, y : y + 14, x : x + 3] = 255
        image[0, y + 11 : y + 14, x : x + 12] = 255
    return images


def things() -> Tensor:
    """Grey blocks of many levels on black, each at its place or at the mirrored one."""
    generator = torch.Generator().manual_seed(1)
    images = torch.zeros(COUNT, 1, SIZE, SIZE, dtype=torch.uint8)
    for image, (y, x) in zip(images, places(generator), strict=True):
        image[0, y : y + 12, x : x + 10] = int(torch.randint(30, 255, (), generator=generator))
    return torch.where(torch.rand(COUNT, 1, 1, 1, generator=generator) < 0.5, images, images.flip(3))


def photographs() -> Tensor:
    """Smooth colours to the edge."""
    rough = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    smooth = torch.nn.functional.interpolate(rough, size=(SIZE, SIZE), mode="bilinear")
    return (255 * smooth).to(torch.uint8)


def image_set(images: Tensor) -> ImageSet:
    return ImageSet("these", images, None, 0)


def config_for(images: Tensor, **changes: object) -> TrainConfig:
    own = TransformConfig(kind="auto", **changes)  # type: ignore[arg-type]
    return dataclasses.replace(preset("folder"), transform=own, image_size=SIZE, channels=images.shape[1])


def test_writing_is_neither_mirrored_nor_brightened() -> None:
    config, found = resolve_transform(config_for(writing()), image_set(writing()))
    chosen = config.transform
    assert found is not None and found.plain > 0.99 and found.mirror > MIRRORED and found.spread < STEADY
    assert (chosen.kind, chosen.flip, chosen.brightness, chosen.hue) == ("whole", 0.0, 0.0, 0.0)
    assert chosen.shear == 20.0 and chosen.zoom == (0.9, 1.1)


def test_things_are_mirrored_and_brightened() -> None:
    chosen = suited(measure(things()))
    assert (chosen.kind, chosen.flip, chosen.saturation) == ("whole", 0.5, 0.0)
    assert chosen.brightness == chosen.contrast == 0.5 and chosen.shear == 5.0


def test_photographs_are_cropped_and_coloured() -> None:
    found = measure(photographs())
    chosen = suited(found)
    assert found.plain < PLAIN
    assert (chosen.kind, chosen.flip, chosen.zoom, chosen.hue) == ("default", 0.5, (1.0, 1.8), 20.0)
    assert chosen.brightness >= 0.2
    grey = suited(measure(photographs().float().mean(1, keepdim=True).to(torch.uint8)))
    assert grey.saturation == grey.hue == 0.0 and grey.zoom == (1.0, 1.8)


def test_settings_that_the_user_gives_are_kept() -> None:
    config, _ = resolve_transform(
        config_for(photographs(), flip=0.0, hue=5.0, keep=("flip", "hue")), image_set(photographs())
    )
    assert (config.transform.flip, config.transform.hue, config.transform.saturation) == (0.0, 5.0, 0.4)
    folder = ["--dataset", "folder", "--data-dir", "x"]
    parsed = train_config([*folder, "--transform.flip", "0"], lambda path: preset("digits"))
    assert parsed.transform.kind == "auto" and parsed.transform.keep == ("flip",)
    given = train_config([*folder, "--transform.kind", "whole"], lambda path: preset("digits"))
    assert given.transform.kind == "whole" and given.transform.keep == ()


def test_other_kinds_are_left_alone() -> None:
    config = preset("mnist")
    assert resolve_transform(config, image_set(writing())) == (config, None)


def test_the_choice_depends_on_the_images_only() -> None:
    """Not on labels, on the order, or on chance; and a few images, or equal ones, are enough."""
    images = things()
    assert measure(images) == measure(images.clone())
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    assert suited(measure(images[order])) == suited(measure(images))
    for few in (images[:1], images[:2], torch.zeros(5, 1, 8, 8, dtype=torch.uint8)):
        assert 0.0 <= suited(measure(few)).brightness <= 0.5


def test_the_choice_is_told_as_flags() -> None:
    found = measure(things())
    line = describe_choice(suited(found), found)
    assert line.startswith("transforms chosen for things on a plain background that may be mirrored: ")
    assert "--transform.kind whole" in line and "--transform.flip 0.5" in line and "\n" not in line


def test_real_data_sets(mnist_dir: Path) -> None:
    """MNIST is writing, as its own preset has it."""
    images = loading.load(dataclasses.replace(preset("mnist"), data_dir=mnist_dir))
    own = preset("mnist").transform
    assert suited(measure(images.images)) == dataclasses.replace(own, keep=())


@pytest.mark.parametrize("count", [1, 3])
def test_channels(count: int) -> None:
    assert measure(torch.zeros(4, count, 16, 16, dtype=torch.uint8)).coloured == 0.0
