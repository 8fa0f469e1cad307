"""What a user should know of images, a line each; and when there is nothing to learn from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fastgan.config.schema import IntensityRange
from fastgan.data.facts import FLAT, Facts, is_flat
from fastgan.data.image_set import DIGESTED, ImageSet, extremes_of
from fastgan.data.intensity import COLOUR
from fastgan.data.scan import Scan, shown
from fastgan.text import pluralize

DARK = 64  # of 255, below which values probably have a scale of their own, such as the bits of a camera


def of_kinds(found: Scan) -> str | None:
    """The images of other kinds, which are not read, by number and name; None if there are none."""
    if not found.unsupported:
        return None
    named = ", ".join(
        f"{pluralize(count, kind + ' file')} ({shown(first)}{' and others' if count > 1 else ''})"
        for kind, count, first in found.unsupported
    )
    return f"not read: {named}; convert them to JPEG, PNG or TIFF to have them in"


def of_images(facts: Facts, paths: Sequence[str], chosen: IntensityRange, ground: str) -> list[str]:
    """Lines on images of (nearly) one colour, equal ones, and values and colours that do not show.

    Args:
        facts, paths: of N images. chosen: the range of those of more than 8 bits. ground: the setting.
    """
    total, twins = pluralize(len(facts), "image"), facts.twins()
    repeated = twins != np.arange(len(facts))
    lines = []

    def example(which: NDArray[np.bool_]) -> str:
        return shown(paths[int(which.argmax())])

    flat, hidden = facts.flat & ~facts.hidden, facts.hidden
    if hidden.any():
        other = "white" if ground == "black" else "black"
        lines.append(
            f"{int(hidden.sum()):,} of {total} {_are(hidden)} transparent, and of one colour on --ground {ground} "
            f"({example(hidden)}); try --ground {other}"
        )
    if flat.any():
        lines.append(
            f"{int(flat.sum()):,} of {total} {_are(flat)} of (nearly) one colour, at most {FLAT} of 255 levels apart "
            f"({example(flat)})"
        )
    if repeated.any():
        row = int(repeated.argmax())
        lines.append(
            f"{int(repeated.sum()):,} of {total} {_are(repeated)} equal to another once decoded ({shown(paths[row])} "
            f"and {shown(paths[int(twins[row])])})"
        )
    deep = facts.deep
    if deep.any() and isinstance(chosen, tuple):
        lines.append(_of_range(facts, chosen, example(deep)))
    colour = facts.rows["samples"] == COLOUR
    if colour.any() and (most := facts.rows["high"][colour].max()) < DARK:
        lines.append(
            f"{pluralize(int(colour.sum()), 'image')} of 16-bit colour ({example(colour)}) use their lowest values "
            f"only: {most:.0f} of 255 at most; stretch them and save with 8 bits"
        )
    return lines


def _are(which: NDArray[np.bool_]) -> str:
    return "is" if which.sum() == 1 else "are"


def _of_range(facts: Facts, chosen: tuple[float, float], example: str) -> str:
    """The values of grey images of more than 8 bits, and the range that is black to white."""
    deep = facts.rows[facts.deep]
    low, high = deep["low"].min(), deep["high"].max()
    beyond = int(((deep["low"] < chosen[0]) | (deep["high"] > chosen[1])).sum())
    cut = f"; {beyond:,} hold values beyond this range, which are cut off" if beyond else ""
    return (
        f"{pluralize(len(deep), 'grey image')} of more than 8 bits ({example}): values {low:g} to {high:g}, of which "
        f"{chosen[0]:g} to {chosen[1]:g} become black to white (--intensity-range){cut}"
    )


def of_scale(images: ImageSet) -> str | None:
    """A line where all images are so dark that their values may have a scale of their own, as labels or 12 bits have;
    None where they are not."""
    most = int(images.extremes()[1].max())
    if most == 0 or most >= DARK:
        return None
    return f"no pixel is above {most} of 255, and they are taken as they are; {_own_scale(most)}"


def _own_scale(most: int) -> str:
    return f"if their values have a scale of their own, such as 0 to {most}, stretch them to 0 to 255"


def nothing_to_learn(images: ImageSet, ground: str) -> str | None:
    """Why no run can learn from these images, whatever they come from, and the remedy; None if at least two of them
    differ and show something, which is more than FLAT levels.

    Args:
        ground: the setting.
    """
    count, facts = len(images.images), images.facts
    if count < 2 or _tell(images):
        return None
    said = f"all {count:,} images are of (nearly) one colour or equal to each other"
    if facts is not None:
        said += " once decoded"
        if facts.hidden.any():
            return (
                f"{said}, {int(facts.hidden.sum()):,} of them transparent on --ground {ground}; name another --ground"
            )
        deep = facts.rows[facts.deep]
        if len(deep):
            return (
                f"{said}; their values are {deep['low'].min():g} to {deep['high'].max():g}: name those of the objects "
                "with --intensity-range LOW HIGH"
            )
    example = f" ({shown(images.paths[0])})" if images.paths else ""
    most = int(images.extremes()[1].max())
    own = f", or {_own_scale(most)}" if 0 < most < DARK else ""
    return f"{said}{example}; give images that differ{own}"


def _tell(images: ImageSet) -> bool:
    """Whether at least two images differ and show something; reads no more images than that takes."""
    if images.facts is not None:
        return images.facts.telling() > 1
    first = None
    for part in images.images.split(DIGESTED):
        telling = part[torch.from_numpy(~is_flat(*extremes_of(part)))]
        first = telling[:1] if first is None and len(telling) else first
        if first is not None and bool((telling != first).any()):
            return True
    return False
