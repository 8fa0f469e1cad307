"""From an image file to uint8 [C, S, S], in one stated way, and many files at a time.

1. Pillow reads the header, of the formats below alone; more than 50 megapixels are refused before they are decoded.
2. A JPEG of more than twice the side is decoded at a half, a quarter or an eighth of its size, still at least twice S;
   at its full size where a crop is asked for.
3. 16-bit grey becomes 8-bit: its high byte, or a rounded 257th where Pillow gives 32-bit integers (PGM).
4. The EXIF orientation is applied. Of several frames or pages the first counts.
5. What is transparent is laid over black. Palette, CMYK and YCbCr become RGB and 1 bit 0 or 255, as Pillow does it.
6. Grey is Pillow's "L", the luma of ITU-R 601; else RGB.
7. The central square is cut out (the odd pixel stays right or below) and resized: bicubic, antialiased. It is the
   largest; or, where a crop is asked for, one of so many of the file's own pixels, if the image has as many.

Pillow does it, and not DALI's decoder, which needs no less work. DALI's speed on a CPU as a multiple of this
module's, by processor time, to 64x64x3 (AMD EPYC, beside other work): JPEG of 64x64 0.97, 256x256 0.96, 512x512 0.50,
1500x1000 0.37 (it decodes the whole where step 2 does not); PNG of 64x64 0.89, of 512x512 photographs 1.34. By wall
time on two threads, where handing tiny files to Python's threads presumably costs most, it is 2.0 times as fast on
64x64 JPEG and 3.5 times on 28x28 PNG (bench/results/decode-*). It has no cap on pixels, other ways with orientation,
transparency, CMYK and 16 bits, and one bad file ends its pipeline. Its decoder on a GPU is not used either: a folder
is decoded once and kept.

Legend: C channels, S the side.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fastgan.data.scan import unreadable
from fastgan.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 50_000_000  # of one image: some 200 MB while it is decoded
TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
MOST_THREADS = 8
TOGETHER = 32  # files a thread takes at once
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

Pixels = NDArray[np.uint8]


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings, which name no file: one that it cannot decode is reported, the others are good."""
    with warnings.catch_warnings():  # not for threads of their own: the filters belong to the process
        warnings.simplefilter("ignore")
        yield


def decode(file: BinaryIO, image_size: int, channels: int, crop: int | None = None) -> Pixels:
    """The image in an open file, uint8 [C, S, S]. Raises DataError with the reason, which names no file.

    Args:
        crop: side of the central square to use, in pixels of the file; None, or more than it has, for the largest.
    """
    try:
        if not file.read(1):
            raise DataError("empty file")
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            return _pixels(image, image_size, channels, crop)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError("no image that can be read, whatever its name") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, which it checks before we can
        raise DataError(TOO_LARGE) from error
    except Exception as error:  # noqa: BLE001 - Pillow raises many kinds; each means that this file is damaged
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(unreadable(error)) from error
        raise DataError(f"damaged ({' '.join(str(error).split()) or type(error).__name__})") from error


def _pixels(image: Image.Image, image_size: int, channels: int, crop: int | None) -> Pixels:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DataError(f"{width} x {height} pixels: {TOO_LARGE}")
    if min(width, height) < 1:
        raise DataError("has no pixels")
    if crop is None:
        image.draft(None, (2 * image_size, 2 * image_size))  # of JPEG; the others know no draft
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        upright = _turned(_eight_bits(image), image)
    else:
        upright = _turned(image, image)
    if upright.has_transparency_data:
        colours = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", colours.size, (0, 0, 0, 255)), colours).convert("RGB")
    if upright.mode not in ("1", "L", "RGB"):
        upright = upright.convert("RGB")
    plain = upright.convert("L" if channels == 1 else "RGB")
    side = min(*plain.size, *(() if crop is None else (crop,)))
    left, top = (plain.width - side) // 2, (plain.height - side) // 2
    square = plain.crop((left, top, left + side, top + side))
    square = square.resize((image_size, image_size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(square, dtype=np.uint8).reshape(image_size, image_size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as "L"; DataError for values that 16 bits do not hold, whose white nobody knows."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        raise DataError("pixels in floating point; save it with 8 or 16 bits")
    if values.min() < 0 or values.max() > 65_535:
        raise DataError(f"grey from {values.min()} to {values.max()}, beyond 16 bits; save it with 8 or 16 bits")
    grey = values >> 8 if image.mode.startswith("I;16") else (values + 128) // 257
    return Image.fromarray(grey.astype(np.uint8))


def _turned(image: Image.Image, original: Image.Image) -> Image.Image:
    """The image turned as the original's EXIF data say; an image whose EXIF data are damaged stays as it is."""
    try:
        orientation = original.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - as above; the pixels are good
        return image
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def decode_file(path: Path, image_size: int, channels: int, crop: int | None = None) -> Pixels | str:
    """The image in a file, uint8 [C, S, S], or the reason why there is none."""
    try:
        with path.open("rb") as file:
            return decode(file, image_size, channels, crop)
    except DataError as error:
        return str(error)
    except OSError as error:
        return unreadable(error)


def decode_files(
    paths: Sequence[Path],
    image_size: int,
    channels: int,
    threads: int | None = None,
    crops: Sequence[int | None] | None = None,
) -> Generator[Pixels | str]:
    """What `decode_file` gives for each path, in their order, by several threads: Pillow decodes without the GIL.

    Args:
        crops: of each path; left out, there are none.
    """
    crops = [None] * len(paths) if crops is None else crops

    def some(first: int) -> list[Pixels | str]:
        these = slice(first, first + TOGETHER)
        return [
            decode_file(path, image_size, channels, crop) for path, crop in zip(paths[these], crops[these], strict=True)
        ]

    threads = threads or min(MOST_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    ahead: deque[Future[list[Pixels | str]]] = deque()
    with quiet():
        try:
            for first in range(0, len(paths), TOGETHER):
                ahead.append(pool.submit(some, first))
                if len(ahead) > 2 * threads:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
