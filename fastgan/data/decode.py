"""Decoding image files to uint8 [C, S, S], with one definition for all formats, and many files at a time.

1. Pillow reads the header, of the formats below only; images above 50 megapixels are refused before decoding.
2. A JPEG of more than twice the side is decoded at a half, a quarter or an eighth of its size, still at least twice S;
   at full size if a crop is given.
3. 16-bit grey becomes 8-bit: its high byte, or value / 257 rounded where Pillow gives 32-bit integers (PGM).
4. The EXIF orientation is applied. Of several frames or pages the first is used.
5. Transparent images are composited over black. Pillow converts palette, CMYK and YCbCr to RGB, and 1 bit to 0 or 255.
6. Grey is Pillow's "L", the luma of ITU-R 601; otherwise RGB.
7. The central square is cropped (an odd pixel stays right or below) and resized: bicubic, antialiased. It is the
   largest square or, if a crop is given and the image is large enough, one with a side of that many pixels.

Pillow is used instead of DALI's decoder, which needs no less work. Speed of DALI on a CPU relative to this module, by
processor time, to 64x64x3 (AMD EPYC, beside other work): JPEG of 64x64 0.97, 256x256 0.96, 512x512 0.50, 1500x1000
0.37 (it decodes at full size where step 2 does not); PNG of 64x64 0.89, of 512x512 photographs 1.34. DALI has no limit
on pixels, treats orientation, transparency, CMYK and 16 bits differently, and one bad file ends its pipeline. Its GPU
decoder is not used either: a folder is decoded once and cached. By wall time: bench/results/decode-*.

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
MOST_PIXELS = 50_000_000  # of one image: some 200 MB while decoding
TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
MOST_WORKERS = 8
FILES_PER_BATCH = 32  # files that a worker decodes at a time, at most
BATCHES_PER_WORKER = 8  # at least, so that all workers end at about the same time
TINY = 8192  # bytes; decoding a smaller file is mostly work in Python
MANY = 1024  # tiny files from which on forking processes, which takes 0.05 s, pays off
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
    """Without Pillow's warnings, which name no file; files that it cannot decode are reported anyway."""
    with warnings.catch_warnings():  # not per thread: the filters belong to the process
        warnings.simplefilter("ignore")
        yield


def decode(file: BinaryIO, image_size: int, channels: int, crop: int | None = None) -> Pixels:
    """The image in an open file, uint8 [C, S, S].

    Args:
        crop: side of the central square, in pixels of the file; None, or more than it has, for the largest square.

    Raises:
        DataError: with the reason, without the file's name.
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
        raise DataError("not an image of a supported format") from error
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
        image.draft(None, (2 * image_size, 2 * image_size))  # only JPEG has draft mode
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
    # Each operation is skipped if it would change nothing, since it copies the image even then.
    square = upright if upright.mode == wanted else upright.convert(wanted)
    side = min(*square.size, *(() if crop is None else (crop,)))
    if square.size != (side, side):
        left, top = (square.width - side) // 2, (square.height - side) // 2
        square = square.crop((left, top, left + side, top + side))
    if side != image_size:
        square = square.resize((image_size, image_size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = np.asarray(square, dtype=np.uint8).reshape(image_size, image_size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as "L"; DataError for values beyond 16 bits, whose white level is unknown."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        raise DataError("pixels in floating point; save it with 8 or 16 bits")
    if values.min() < 0 or values.max() > 65_535:
        raise DataError(f"grey from {values.min()} to {values.max()}, beyond 16 bits; save it with 8 or 16 bits")
    grey = values >> 8 if image.mode.startswith("I;16") else (values + 128) // 257
    return Image.fromarray(grey.astype(np.uint8))


def _turned(image: Image.Image, original: Image.Image) -> Image.Image:
    """The image rotated by the original's EXIF orientation; unchanged if the EXIF data are damaged."""
    try:
        orientation = original.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF data raise many kinds; the pixels are good
        return image
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def decode_file(path: str | Path, image_size: int, channels: int, crop: int | None = None) -> Pixels | str:
    """The image in a file, uint8 [C, S, S], or the reason why it cannot be used."""
    try:
        with open(path, "rb") as file:
            return decode(file, image_size, channels, crop)
    except DataError as error:
        return str(error)
    except OSError as error:
        return unreadable(error)


@dataclass(frozen=True)
class _Batch:
    """The decoded files of a batch: good images, uint8 [n, C, S, S], and the reason for each bad one by position."""

    good: Pixels
    bad: dict[int, str]

    def __iter__(self) -> Iterator[Pixels | str]:
        images = iter(self.good)
        for place in range(len(self.good) + len(self.bad)):
            yield self.bad[place] if place in self.bad else next(images)


class _Batches(Dataset[_Batch]):
    """The results of `decode_file` for all paths, `files_per_batch` at a time."""

    def __init__(
        self,
        paths: Sequence[str | Path],
        form: tuple[int, int],
        crops: Sequence[int | None] | None,
        files_per_batch: int,
    ) -> None:
        self.paths, self.form, self.crops, self.files_per_batch = paths, form, crops, files_per_batch

    def __len__(self) -> int:
        return -(-len(self.paths) // self.files_per_batch)

    def __getitem__(self, number: int) -> _Batch:
        these = slice(number * self.files_per_batch, (number + 1) * self.files_per_batch)
        paths = self.paths[these]
        crops = [None] * len(paths) if self.crops is None else self.crops[these]
        found = [decode_file(path, *self.form, crop) for path, crop in zip(paths, crops, strict=True)]
        good = [each for each in found if not isinstance(each, str)]
        size, channels = self.form
        return _Batch(
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
    """The result of `decode_file` for each path, in order.

    Uses threads, since Pillow decodes without the GIL. But the work on tiny files is mostly in Python, where two
    threads are no faster than one: many tiny files are decoded by processes, which torch's DataLoader forks (on Linux),
    and which end with this process, however it ends.

    Args:
        workers: number of threads or processes; by default one per processor that this process may use.
        crops: of each path, as in `decode`; by default none.

    Raises:
        DataError: when a worker process is killed, for instance when memory runs out.
    """
    workers = min(MOST_WORKERS, threads.available()) if workers is None else workers
    files_per_batch = max(1, min(FILES_PER_BATCH, len(paths) // (BATCHES_PER_WORKER * max(workers, 1))))
    batches = _Batches(paths, (image_size, channels), crops, files_per_batch)
    if workers < 2:
        decoded: Iterator[_Batch] = map(batches.__getitem__, range(len(batches)))
    elif _forks() and len(paths) >= MANY and _tiny(paths):
        decoded = _by_processes(batches, workers)
    else:
        decoded = _by_threads(batches, workers)
    with quiet():  # hides Python's warning about fork with threads too
        for batch in decoded:
            yield from batch


def _tiny(paths: Sequence[str | Path]) -> bool:
    """Whether most files are below TINY bytes, by a sample; True if none of it can be read."""
    sizes = []
    for path in paths[:: max(1, len(paths) // 32)]:
        with contextlib.suppress(OSError):
            sizes.append(os.stat(path).st_size)
    return not sizes or statistics.median(sizes) < TINY


def _forks() -> bool:
    """Whether worker processes can be forked: on Linux, unless this is a daemonic process."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def _by_processes(batches: _Batches, workers: int) -> Iterator[_Batch]:
    loader = DataLoader(
        batches,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context="fork",  # no imports again; the processes call only Pillow
        worker_init_fn=_end_with_parent,
        generator=torch.Generator(),  # the default would draw from the global generator
    )
    try:
        yield from loader
    except RuntimeError as error:
        raise DataError(f"a process that decodes images ended ({' '.join(str(error).split())}); try again") from error


def _end_with_parent(worker: int) -> None:
    """Ask the kernel to: torch's watchdog does not end a worker that is blocked writing to a closed queue."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != os.getppid():  # the parent had already ended
        os._exit(1)


def _as_it_is(batch: Any) -> Any:
    return batch


def _by_threads(batches: _Batches, workers: int) -> Iterator[_Batch]:
    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[_Batch]] = deque()
    try:
        for number in range(len(batches)):
            ahead.append(pool.submit(batches.__getitem__, number))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
