"""Decoding one image file to uint8 [C, S, S], with one definition for all formats.

1. Pillow reads the header, of the formats below only. More than 50 megapixels to decode are refused before decoding.
2. A JPEG of more than twice the side is decoded at a half, a quarter or an eighth of its size, still at least twice S;
   at full size if a crop is given. The limit holds for what is decoded, and for what a JPEG of several scans keeps.
3. Grey of more than 8 bits becomes 8-bit by `intensity_range` (intensity.py).
4. The EXIF orientation is applied. Of several frames or pages the first is used.
5. Transparent images are laid on `ground`. Pillow converts palette, CMYK and YCbCr to RGB, and 1 bit to 0 or 255.
6. Grey is Pillow's "L", the luma of ITU-R 601; otherwise RGB.
7. The central square is cropped (an odd pixel stays right or below) and resized: bicubic, antialiased. It is the
   largest square or, if a crop is given and the image is large enough, one with a side of that many pixels.

A tag means the same at every depth: orientation, inverted grey (TIFF's WhiteIsZero), one transparent value, alpha.
A whole PNG is read whatever its texts and profile hold: if Pillow's limits on them are exceeded, it is read without.

Pillow is used instead of DALI's decoder, which needs no less work. Speed of DALI on a CPU relative to this module, by
processor time, to 64x64x3 (AMD EPYC, beside other work): JPEG of 64x64 0.97, 256x256 0.96, 512x512 0.50, 1500x1000
0.37 (it decodes at full size where step 2 does not); PNG of 64x64 0.89, of 512x512 photographs 1.34. DALI has no limit
on pixels, treats orientation, transparency, CMYK and 16 bits differently, and one bad file ends its pipeline. Its GPU
decoder is not used either: a folder is decoded once and cached. By wall time: bench/results/decode-*.

Legend: C channels, S the side, H and W of the file.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageColor

from fastgan.config.schema import IntensityRange
from fastgan.data import intensity, opening
from fastgan.data.facts import FLAT, chroma
from fastgan.data.intensity import Deep, Pixels
from fastgan.data.refused import reason
from fastgan.data.scan import unreadable
from fastgan.errors import DataError

T = TypeVar("T")

GRAIN = 32  # pixels along each side, on which a file's colours are looked for

ORIENTATION = 0x0112  # EXIF's tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Form:
    """What image files are decoded to.

    image_size: S. channels: C. ground, intensity_range: as the settings of these names.
    """

    image_size: int
    channels: int
    ground: str = "black"
    intensity_range: IntensityRange = "type"

    @property
    def under(self) -> tuple[int, int, int]:
        """The colour under transparent images, RGB."""
        red, green, blue = ImageColor.getrgb(self.ground)[:3]
        return red, green, blue


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    pixels: uint8 [C, S, S]; of a `deep` image not yet known, and 0. deep: an image whose values become pixels once the
    folder's range is chosen. source: the fields of facts.SOURCE.
    """

    pixels: Pixels
    deep: Deep | None
    source: tuple[bool, bytes, float, float, bytes, int, int, int]


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings, which name no file; files that it cannot decode are reported anyway."""
    with warnings.catch_warnings():  # not per thread: the filters belong to the process
        warnings.simplefilter("ignore")
        yield


def decode(file: BinaryIO, form: Form, crop: int | None = None) -> Picture:
    """The image in an open file.

    Args:
        crop: side of the central square, in pixels of the file; None, or more than it has, for the largest square.

    Raises:
        DataError: with the reason, without the file's name.
    """
    return _opened(file, lambda image: _picture(image, form, crop))


def _opened(file: BinaryIO, act: Callable[[Any], T]) -> T:
    """What `act` makes of the image in an open file, of which only the header has been read. Raises as `decode`."""
    head = b""
    try:
        head = file.read(opening.HEAD)
        if not head:
            raise DataError("empty file")
        file.seek(0)
        try:
            with opening.opened(file, head) as image:
                return act(image)
        except ValueError as error:
            if isinstance(error, DataError) or not head.startswith(opening.PNG):
                raise
            with opening.opened(opening.without_texts(file), head) as image:  # Pillow limits their size, decompressed
                return act(image)
    except DataError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, which it checks before we can
        raise DataError(opening.TOO_LARGE) from error
    except Exception as error:  # noqa: BLE001 - Pillow raises many kinds; each means that this file cannot be used
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(unreadable(error)) from error
        raise DataError(reason(error, file, head)) from error


def _picture(image: Any, form: Form, crop: int | None) -> Picture:
    width, height = image.size
    if min(width, height) < 1:
        raise DataError("has no pixels")
    if crop is None:
        image.draft(None, (2 * form.image_size, 2 * form.image_size))  # only JPEG has draft mode
    opening.check_work(image, width, height)
    raw = opening.raw_mode(image)
    with_alpha = raw == "LA;16B" and form.intensity_range != "type"
    if with_alpha:  # grey and opacity of 16 bits, which Pillow would halve; instead its four bytes as they are
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
    image.load()
    about = ((image.format or "").encode(), width, height)
    if with_alpha or image.mode.startswith("I") or image.mode == "F":
        return _grey(image, raw, about, form, crop)
    samples, low, high = intensity.EIGHT_BITS, math.nan, math.nan
    if raw.endswith((";16B", ";16L", ";16N")):
        extremes = [image.getchannel(band).getextrema() for band in image.getbands() if band not in "Aa"]
        samples, low, high = intensity.COLOUR, min(low for low, _ in extremes), max(high for _, high in extremes)
    opening.mend_transparency(image, raw)
    pixels, hidden, levels = _laid(_turned(image, image), form, crop)
    return Picture(pixels, None, (hidden, samples, low, high, about[0], levels, *about[1:]))


def _laid(upright: Image.Image, form: Form, crop: int | None) -> tuple[Pixels, bool, int]:
    """Pixels of 8 bits, laid on the ground, cropped and resized; whether the opacity has a shape; and the chroma."""
    shaped = False
    if upright.has_transparency_data:
        colours = (upright.convert("LA") if upright.mode == "La" else upright).convert("RGBA")
        thin, thick = colours.getchannel("A").getextrema()
        shaped = int(thick) - int(thin) > FLAT  # type: ignore[arg-type]
        upright = Image.alpha_composite(Image.new("RGBA", colours.size, (*form.under, 255)), colours).convert("RGB")
    if upright.mode not in ("1", "L", "RGB"):
        upright = upright.convert("RGB")
    # Where the pixels keep their colours, these tell as much.
    levels = _chroma(upright) if upright.mode == "RGB" and form.channels == 1 else 0
    wanted = "L" if form.channels == 1 else "RGB"
    # Each operation is skipped if it would change nothing, since it copies the image even then.
    square = _square(upright if upright.mode == wanted else upright.convert(wanted), form.image_size, crop)
    pixels = np.asarray(square, dtype=np.uint8).reshape(form.image_size, form.image_size, form.channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), shaped, levels


def _chroma(upright: Image.Image) -> int:
    """Levels between the channels of an RGB image, in the mean of some of its pixels."""
    grain = upright.resize((min(GRAIN, upright.width), min(GRAIN, upright.height)), Image.Resampling.NEAREST)
    return round(float(chroma(np.asarray(grain)[None], axis=3)[0]))


def _square(upright: Image.Image, image_size: int, crop: int | None) -> Image.Image:
    """The central square, resized."""
    side = min(*upright.size, *(() if crop is None else (crop,)))
    if upright.size != (side, side):
        left, top = (upright.width - side) // 2, (upright.height - side) // 2
        upright = upright.crop((left, top, left + side, top + side))
    if side == image_size:
        return upright
    return upright.resize((image_size, image_size), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _grey(image: Any, raw: str, about: tuple[bytes, int, int], form: Form, crop: int | None) -> Picture:
    """Grey of more than 8 bits."""
    values, opacity = np.asarray(image), None
    inverted, unsigned = (image.inverted, image.unsigned) if isinstance(image, opening.Tiff) else (False, False)
    values = values.view(np.uint32) if unsigned else values
    if values.ndim == 3:
        both = values.astype(np.float32)
        values, opacity = both[..., 0] * 256 + both[..., 1], (both[..., 2] * 256 + both[..., 3]) / intensity.WHITE
    elif isinstance(image.info.get("transparency"), int):
        opacity = (values != image.info["transparency"]).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low + high):
        raise DataError("holds values that are no finite numbers; save it without them")
    stated = image.format == "PPM" and image.mode == "I"  # Pillow has stretched it to 16 bits
    samples = intensity.STATED if stated else intensity.FLOAT if image.mode == "F" else intensity.INTEGER
    hidden = opacity is not None and float(np.ptp(opacity)) * 255 > FLAT
    source = (hidden, samples, low, high, about[0], 0, *about[1:])
    if stated or form.intensity_range == "type":
        bits = intensity.by_type(values, image.mode.startswith("I;16"), 4095 if raw == "I;12" else intensity.WHITE)
        grey = Image.fromarray(255 - bits if inverted else bits)
        if opacity is not None:
            grey = Image.merge("LA", (grey, Image.fromarray((opacity * 255).astype(np.uint8))))
        return Picture(_laid(_turned(grey, image), form, crop)[0], None, source)
    within = values.astype(np.float32)
    if form.intensity_range != "auto":
        within = within.clip(*form.intensity_range)
    planes = [within] if opacity is None else [within * opacity, opacity]
    upright = [_square(_turned(Image.fromarray(plane), image), form.image_size, crop) for plane in planes]
    deep = Deep(np.stack([np.asarray(plane, np.float32) for plane in upright]), inverted)
    if form.intensity_range != "auto":
        return Picture(intensity.to_bytes(deep, *form.intensity_range, form.channels, form.under), None, source)
    return Picture(np.zeros((form.channels, form.image_size, form.image_size), np.uint8), deep, source)


def _turned(image: Image.Image, original: Image.Image) -> Image.Image:
    """The image rotated by the original's EXIF orientation; unchanged if the EXIF data are damaged."""
    try:
        orientation = original.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF data raise many kinds; the pixels are good
        return image
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def decode_file(path: str | Path, form: Form, crop: int | None = None) -> Picture | str:
    """The image in a file, or the reason why it cannot be used."""
    try:
        with open(path, "rb") as file:
            return decode(file, form, crop)
    except DataError as error:
        return str(error)
    except OSError as error:
        return unreadable(error)


def header(path: str | Path) -> tuple[str, str, tuple[int, int]] | str:
    """Format and pixel mode of an image file, as Pillow names them, and width and height; or why there are none."""

    def read(image: Any) -> tuple[str, str, tuple[int, int]]:
        return str(image.format), str(image.mode), tuple(image.size)

    try:
        with open(path, "rb") as file:
            return _opened(file, read)
    except DataError as error:
        return str(error)
    except OSError as error:
        return unreadable(error)
