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
1500x1000 0.37 (it decodes the whole where step 2 does not); PNG of 64x64 0.89, of 512x512 photographs 1.34. It has no
cap on pixels, other ways with orientation, transparency, CMYK and 16 bits, and one bad file ends its pipeline. Its
decoder on a GPU is not used either: a folder is decoded once and kept. By wall time: bench/results/decode-*.

Legend: C channels, S the side.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import statistics
import sys
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch.utils.data import DataLoader, Dataset

from fastgan.data.scan import unreadable
from fastgan.errors import DataError
from fastgan.runtime import threads

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 50_000_000  # of one image: some 200 MB while it is decoded
TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
MOST_WORKERS = 8
TOGETHER = 32  # files a worker takes at once
FEW = 8  # as many of them are left for each worker at least, so that all end at the same time
TINY = 8192  # bytes of a file, most work on which is Python's
MANY = 1024  # of such files are worth the forking of processes, a twentieth of a second
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)
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
    wanted = "L" if channels == 1 else "RGB"
    square = upright if upright.mode == wanted else upright.convert(wanted)  # each of these copies even what fits
    side = min(*square.size, *(() if crop is None else (crop,)))
    if square.size != (side, side):
        left, top = (square.width - side) // 2, (square.height - side) // 2
        square = square.crop((left, top, left + side, top + side))
    if side != image_size:
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


def decode_file(path: str | Path, image_size: int, channels: int, crop: int | None = None) -> Pixels | str:
    """The image in a file, uint8 [C, S, S], or the reason why there is none."""
    try:
        with open(path, "rb") as file:
            return decode(file, image_size, channels, crop)
    except DataError as error:
        return str(error)
    except OSError as error:
        return unreadable(error)


@dataclass(frozen=True)
class _Portion:
    """Several files' images, uint8 [n, C, S, S] of the good ones, and why each of the others, by place, is not."""

    good: Pixels
    bad: dict[int, str]

    def __iter__(self) -> Iterator[Pixels | str]:
        images = iter(self.good)
        for place in range(len(self.good) + len(self.bad)):
            yield self.bad[place] if place in self.bad else next(images)


class _Portions(Dataset[_Portion]):
    """What `decode_file` gives for each path, several at a time."""

    def __init__(
        self, paths: Sequence[str | Path], form: tuple[int, int], crops: Sequence[int | None] | None, together: int
    ) -> None:
        self.paths, self.form, self.crops, self.together = paths, form, crops, together

    def __len__(self) -> int:
        return -(-len(self.paths) // self.together)

    def __getitem__(self, number: int) -> _Portion:
        these = slice(number * self.together, (number + 1) * self.together)
        paths = self.paths[these]
        crops = [None] * len(paths) if self.crops is None else self.crops[these]
        found = [decode_file(path, *self.form, crop) for path, crop in zip(paths, crops, strict=True)]
        good = [each for each in found if not isinstance(each, str)]
        size, channels = self.form
        return _Portion(
            np.stack(good) if good else np.empty((0, channels, size, size), np.uint8),
            {place: each for place, each in enumerate(found) if isinstance(each, str)},
        )


def decode_files(
    paths: Sequence[str | Path],
    image_size: int,
    channels: int,
    workers: int | None = None,
    crops: Sequence[int | None] | None = None,
) -> Generator[Pixels | str]:
    """What `decode_file` gives for each path, in their order.

    By threads, for Pillow decodes without the GIL. But most of the work on a tiny file is Python's, and two threads are
    no faster than one at it: many of them are decoded by processes, which torch's loader forks (on Linux), and which
    end with this process, however it ends.

    Args:
        workers: how many; left out, one for each processor that this process may use.
        crops: of each path; left out, there are none.

    Raises:
        DataError: when one of the processes is killed, as by a system that is out of memory.
    """
    workers = min(MOST_WORKERS, threads.available()) if workers is None else workers
    together = max(1, min(TOGETHER, len(paths) // (FEW * max(workers, 1))))
    portions = _Portions(paths, (image_size, channels), crops, together)
    if workers < 2:
        several: Iterator[_Portion] = map(portions.__getitem__, range(len(portions)))
    elif _forks() and len(paths) >= MANY and _tiny(paths):
        several = _by_processes(portions, workers)
    else:
        several = _by_threads(portions, workers)
    with quiet():  # also of Python's advice against forking where there are threads
        for portion in several:
            yield from portion


def _tiny(paths: Sequence[str | Path]) -> bool:
    """Whether most files are, by some of them; those that cannot be looked at count as such."""
    sizes = []
    for path in paths[:: max(1, len(paths) // 32)]:
        with contextlib.suppress(OSError):
            sizes.append(os.stat(path).st_size)
    return not sizes or statistics.median(sizes) < TINY


def _forks() -> bool:
    """Whether processes can be forked: on Linux, where this is not itself one that must have no children."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def _by_processes(portions: _Portions, workers: int) -> Iterator[_Portion]:
    loader = DataLoader(
        portions,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context="fork",  # nothing is imported again; only Pillow is called in the processes
        worker_init_fn=_end_with_parent,
        generator=torch.Generator(),  # left out, it would draw from the run's own
    )
    try:
        yield from loader
    except RuntimeError as error:
        raise DataError(f"a process that decodes images ended ({' '.join(str(error).split())}); try again") from error


def _end_with_parent(worker: int) -> None:
    """Ask the kernel for it: torch's own watch ends no worker that waits to write what nobody reads any more."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != os.getppid():  # it ended before it was asked
        os._exit(1)


def _as_it_is(portion: Any) -> Any:
    return portion


def _by_threads(portions: _Portions, workers: int) -> Iterator[_Portion]:
    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[_Portion]] = deque()
    try:
        for number in range(len(portions)):
            ahead.append(pool.submit(portions.__getitem__, number))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
