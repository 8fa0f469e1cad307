"""Settings that suit a folder of images, each with its reason; a pure function of what a survey found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastgan.config.presets import PRESETS
from fastgan.config.schema import MAX_CODES, NetworkConfig
from fastgan.data.classes import is_part
from fastgan.data.survey import Survey

SMALL_SIDES = ((20, 16), (30, 28), (48, 32))  # images whose shorter side is at most the first suit the second
FEWEST = 4  # images: two steps of the smallest batch
FEW = 10  # steps that an epoch should have, at least
CLASS_FOLDERS = 100  # with more subfolders than this, they are hardly classes
# Networks for a processor without a GPU; docs/images.md has times of these and of the default's.
NARROW = NetworkConfig(width=32, hidden=512, feature_norm=PRESETS["folder"].network.feature_norm)


@dataclass(frozen=True)
class Advice:
    """A flag of `python -m fastgan.train`, its value ("" for a switch), and why."""

    flag: str
    value: str
    why: str


def advice(found: Survey, on_gpu: bool) -> tuple[Advice, ...]:
    """Flags for a folder of FEWEST images or more; what is not named stays at its default."""
    chosen = [*_classes(found), *_size(found), *_batch(found)]
    if not on_gpu:
        why = "without a GPU: narrower networks take a fraction of the time and draw coarser images"
        chosen.append(Advice("--network.width", str(NARROW.width), why))
        chosen.append(Advice("--network.hidden", str(NARROW.hidden), why))
    if found.bad:
        chosen.append(Advice("--skip-bad", "", "to leave out the files that cannot be used"))
    return tuple(chosen)


def _classes(found: Survey) -> list[Advice]:
    folders = {name for name in found.classes if name}
    default = str(PRESETS["folder"].classes)
    if "" in found.classes or not 2 <= len(folders) <= min(CLASS_FOLDERS, MAX_CODES):
        return [Advice("--classes", default, "the default; set it to about as many as you expect")]
    if all(map(is_part, folders)):
        why = "the default; the subfolders look like parts of a data set, not like classes"
        return [Advice("--classes", default, why)]
    why = "there are as many subfolders; if these are the classes, add --labels-from-folders to be scored by them"
    return [Advice("--classes", str(len(folders)), why)]


def _size(found: Survey) -> list[Advice]:
    chosen = []
    if len(found.sides):
        side = int(np.median(found.sides.min(1)))
        for most, size in SMALL_SIDES:
            if side <= most:
                chosen.append(Advice("--image-size", str(size), f"the images' shorter side is {side} pixels (median)"))
                break
    if found.grey:
        chosen.append(Advice("--channels", "1", "the images are grey"))
    return chosen


def _batch(found: Survey) -> list[Advice]:
    batch = PRESETS["folder"].batch_size
    if found.images >= FEW * batch:
        return []
    fitting = max(found.images // FEW // 2 * 2, 2)
    return [Advice("--batch-size", str(fitting), f"so that {found.images} images make about {FEW} steps an epoch")]
