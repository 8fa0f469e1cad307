"""A look at a folder before anything is trained on it: what lies there, how it reads, and what may be wrong with it.

Every file's header is read, and files of equal size are hashed to find copies. Decoding costs most, so only SAMPLE
images, spread evenly over the folder, are decoded: for what they hold, and for how long it takes.

Legend: N images, n of the sample, C channels, S the side.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fastgan.data import decode
from fastgan.data.folder import images_in
from fastgan.data.scan import Entry, unreadable
from fastgan.runtime.stages import stage

SAMPLE = 2048  # images that are decoded
CONSTANT = 4  # grey levels of 255 within which an image counts as constant


@dataclass(frozen=True)
class Sample:
    """Some of a folder's images, decoded.

    images: uint8 [n, C, S, S]. paths: of each. bad: (path, reason) of those that could not be decoded. seconds: that
    decoding took.
    """

    images: Tensor
    paths: tuple[str, ...]
    bad: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def constant(self) -> tuple[str, ...]:
        """Paths of the images in which each channel is nearly the same everywhere."""
        if not self.paths:
            return ()
        values = self.images.flatten(2)
        flat = (values.amax(2).int() - values.amin(2).int() <= CONSTANT).all(1).tolist()
        return tuple(path for path, is_flat in zip(self.paths, flat, strict=True) if is_flat)


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    size: bytes of all its image files. kinds, modes: how many there are of each format and pixel mode, as Pillow names
    them. sides: width and height in pixels, int64 [N, 2]. classes: number of images in each subfolder, "" for those in
    none. copies: groups of paths with the same content. bad: (path, reason) of files that cannot be used. ignored:
    number of other and hidden files. sample: some images, decoded.
    """

    folder: Path
    size: int
    kinds: Counter[str]
    modes: Counter[str]
    sides: NDArray[np.int64]
    classes: Counter[str]
    copies: tuple[tuple[str, ...], ...]
    bad: tuple[tuple[str, str], ...]
    ignored: int
    sample: Sample

    @property
    def images(self) -> int:
        """Number of images whose header can be read."""
        return len(self.sides)

    @property
    def grey(self) -> bool:
        """Whether no image has colours, as far as pixel modes and the sample tell."""
        images = self.sample.images
        if images.shape[1] == 1 or not len(images):
            return images.shape[1] == 1
        return bool((images == images[:, :1]).all())


def survey(folder: Path, image_size: int, channels: int, sample: int = SAMPLE) -> Survey:
    """Look at every image file of a folder, and decode at most `sample` of them to [C, S, S].

    Raises:
        DataError: when the folder does not exist, cannot be read or holds no images.
    """
    found = images_in(folder)
    kinds: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    sides: list[tuple[int, int]] = []
    bad, good = list(found.bad), []
    with stage("reading headers", total=len(found.entries), unit="files") as progress, decode.quiet():
        for entry in found.entries:
            header = _header(folder / entry.path)
            if isinstance(header, str):
                bad.append((entry.path, header))
            else:
                kind, mode, size = header
                kinds[kind] += 1
                modes[mode] += 1
                sides.append(size)
                good.append(entry)
            progress.update(1)
    taken = _decoded(folder, good, image_size, channels, sample)
    return Survey(
        folder=folder,
        size=sum(entry.size for entry in found.entries),
        kinds=kinds,
        modes=modes,
        sides=np.array(sides, np.int64).reshape(-1, 2),
        classes=Counter(entry.path.rpartition("/")[0].partition("/")[0] for entry in good),
        copies=_copies(folder, good),
        bad=tuple(sorted(bad + list(taken.bad))),
        ignored=found.ignored,
        sample=taken,
    )


def _header(path: Path) -> tuple[str, str, tuple[int, int]] | str:
    """Format, pixel mode, and width and height; or the reason why there are none."""
    try:
        with Image.open(path, formats=decode.FORMATS) as image:
            return str(image.format), image.mode, image.size
    except UnidentifiedImageError:
        return "not an image of a supported format" if path.stat().st_size else "empty file"
    except Image.DecompressionBombError:
        return decode.TOO_LARGE
    except OSError as error:
        return unreadable(error)
    except Exception as error:  # noqa: BLE001 - Pillow raises many kinds; each means that this file is damaged
        return f"damaged ({' '.join(str(error).split()) or type(error).__name__})"


def _decoded(folder: Path, entries: Sequence[Entry], image_size: int, channels: int, most: int) -> Sample:
    count = min(most, len(entries))
    chosen = [entries[int(place)] for place in np.linspace(0, len(entries) - 1, count).round()]
    good, paths, bad, begin = [], [], [], time.perf_counter()
    with stage("decoding a sample", total=count) as progress:
        found = decode.decode_files([folder / entry.path for entry in chosen], image_size, channels)
        for entry, result in zip(chosen, found, strict=True):
            if isinstance(result, str):
                bad.append((entry.path, result))
            else:
                good.append(torch.from_numpy(result))
                paths.append(entry.path)
            progress.update(1)
    seconds = time.perf_counter() - begin
    images = torch.stack(good) if good else torch.empty((0, channels, image_size, image_size), dtype=torch.uint8)
    return Sample(images, tuple(paths), tuple(bad), seconds)


def _copies(folder: Path, entries: Sequence[Entry]) -> tuple[tuple[str, ...], ...]:
    """Groups of files with the same content; only files of equal size are read."""
    by_size: defaultdict[int, list[str]] = defaultdict(list)
    for entry in entries:
        by_size[entry.size].append(entry.path)
    suspects = [path for paths in by_size.values() if len(paths) > 1 for path in paths]
    by_content: defaultdict[bytes, list[str]] = defaultdict(list)
    with stage("looking for copies", total=len(suspects), unit="files") as progress:
        for path in suspects:
            try:
                with open(folder / path, "rb") as file:
                    by_content[hashlib.file_digest(file, "blake2b").digest()].append(path)
            except OSError:
                continue  # gone meanwhile; whoever decodes it will say so
            finally:
                progress.update(1)
    return tuple(tuple(paths) for paths in by_content.values() if len(paths) > 1)
