"""Settings that are left to the images: their number decides the schedule, what is in them transforms and intensity."""

from __future__ import annotations

from dataclasses import replace

from fastgan.augment.suited import describe_choice, resolve_transform
from fastgan.config.schedule import resolve_schedule
from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet


def resolve(config: TrainConfig, images: ImageSet, ranks: int = 1) -> tuple[TrainConfig, str | None]:
    """`config` with nothing left to the images, and a line for the user if transforms were chosen."""
    if images.intensity_range is not None:  # kept, so that other images are decoded as these were
        config = replace(config, intensity_range=images.intensity_range)
    config, measured = resolve_transform(resolve_schedule(config, len(images.images), ranks), images)
    return config, None if measured is None else describe_choice(config.transform, measured)
