"""Which values of a grey image of more than 8 bits become black and white: `--intensity-range`.

A file of 8 bits says what white is, one of 16 or 32 bits does not: a camera of 12 bits fills 4,096 of 65,536 values.

auto: one range for all such files of a folder, from the lowest and highest value that any of them holds, whatever the
order of the files:
1. No value is negative: 0 to 2^b - 1, the fewest bits b that hold the highest value (0 to 4095 for 12 bits).
2. Floating point within 0 to 1, or -1 to 1: that.
3. Otherwise (negative values): the lowest to the highest.
Integers and floating point in one folder are refused, for one range cannot serve both.

LOW HIGH: this range; values beyond it become black or white.

type: the range of the file's type, 0 to 65535 (0 to 4095 of a TIFF of 12 bits), of which the high byte is kept, or
value / 257 rounded where Pillow gives 32-bit integers. Values beyond it, and floating point, are refused.

A PGM states its largest value, which is white whatever the range. Of 16-bit colour Pillow reads the high byte alone.

Legend: C channels, S the side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgan.config.schema import IntensityRange
from fastgan.errors import DataError

WHITE = 65_535  # of 16 bits
# What the samples of a file are, as facts.py keeps it; a range is chosen for the last two.
EIGHT_BITS, COLOUR, STATED, INTEGER, FLOAT = b"8 bits", b"16-bit colour", b"16-bit PGM", b"integer", b"float"

Pixels = NDArray[np.uint8]
Values = NDArray[Any]


@dataclass(frozen=True)
class Deep:
    """A resized grey image of more than 8 bits, before its values become bytes.

    planes: float32 [1 or 2, S, S]; the values times their opacity, and the opacity, 0 to 1, of a transparent image.
    inverted: whether low values are bright.
    """

    planes: NDArray[np.float32]
    inverted: bool


def to_bytes(deep: Deep, black: float, white: float, channels: int, ground: tuple[int, int, int]) -> Pixels:
    """uint8 [C, S, S]: `black` becomes 0 and `white` 255, the other way round if inverted, laid on `ground` (RGB)."""
    values, opacity = deep.planes[0].astype(np.float64), deep.planes[1] if len(deep.planes) > 1 else 1.0
    light = (values - black * opacity) * (255 / (white - black))
    light = 255 * opacity - light if deep.inverted else light
    under = np.array(ground if channels == 3 else [luma(ground)])[:, None, None]
    laid = np.broadcast_to(light + under * (1 - opacity), (channels, *light.shape))
    return np.floor(laid.clip(0, 255) + 0.5).astype(np.uint8)


def luma(colour: tuple[int, int, int]) -> float:
    """ITU-R 601, as Pillow's "L"."""
    return (299 * colour[0] + 587 * colour[1] + 114 * colour[2]) / 1000


def by_type(values: Values, high_byte: bool, white: int = WHITE) -> Pixels:
    """Grey of more than 8 bits, [H, W], as bytes by the range of its type.

    Raises:
        DataError: for floating point and values beyond 16 bits, whose white level is unknown.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        raise DataError(f"floating point from {low:g} to {high:g}; add --intensity-range auto, or save with 8 bits")
    if low < 0 or high > WHITE:
        raise DataError(f"grey from {low} to {high}, beyond 16 bits; add --intensity-range auto, or save with 8 bits")
    if white != WHITE:
        return (values.astype(np.uint32) * 255 // white).clip(0, 255).astype(np.uint8)
    return (values >> 8 if high_byte else (values.astype(np.int64) + 128) // 257).astype(np.uint8)


def choose(wanted: IntensityRange, samples: NDArray[np.bytes_], lows: Values, highs: Values) -> IntensityRange:
    """The range for files whose `samples`, lowest and highest values these are, [N] each; `wanted` unless it is auto
    and there are any of more than 8 bits.

    Raises:
        DataError: when integers and floating point are mixed.
    """
    integers, floats = samples == INTEGER, samples == FLOAT
    deep = integers | floats
    if wanted != "auto" or not deep.any():
        return wanted
    if integers.any() and floats.any():
        raise DataError(
            f"{int(integers.sum()):,} images hold integers of 16 or 32 bits and {int(floats.sum()):,} floating point; "
            "save all in one way, or name one range with --intensity-range LOW HIGH"
        )
    low, high = float(lows[deep].min()), float(highs[deep].max())
    if floats.any() and max(-low, high) <= 1:
        return (0.0 if low >= 0 else -1.0), 1.0
    if low < 0:
        return low, high if high > low else low + 1
    return 0.0, float(2 ** max(int(np.ceil(high)).bit_length(), 1) - 1)
