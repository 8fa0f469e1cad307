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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastgan.config.schema import IntensityRange
from fastgan.data import decode, intensity, remarks, workers
from fastgan.data.decode import Form
from fastgan.data.facts import ROW, Facts, note_pixels
from fastgan.data.folder import images_in
from fastgan.data.image_set import ImageSet
from fastgan.data.intensity import Deep
from fastgan.data.scan import Entry
from fastgan.runtime.stages import stage

SAMPLE = 2048  # images that are decoded


@dataclass(frozen=True)
class Sample:
    """Some of a folder's images, decoded.

    images: uint8 [n, C, S, S]. paths: of each. bad: (path, reason) of those that could not be decoded. seconds: that
    decoding took. facts: what was seen of each. intensity_range: of grey images of more than 8 bits.
    """

    images: Tensor
    paths: tuple[str, ...]
    bad: tuple[tuple[str, str], ...]
    seconds: float
    facts: Facts
    intensity_range: IntensityRange = "auto"

    @property
    def flat(self) -> tuple[str, ...]:
        """Paths of the images of (nearly) one colour."""
        return tuple(path for path, is_flat in zip(self.paths, self.facts.flat, strict=True) if is_flat)

    def remarks(self) -> list[str]:
        """What a user should know of them, a line each."""
        lines = remarks.of_images(self.facts, self.paths, self.intensity_range, Form.ground)
        images = ImageSet("folder", self.images, None, 0, self.paths, facts=self.facts)
        more = (remarks.nothing_to_learn(images, Form.ground) or remarks.of_scale(images)) if self.paths else None
        return lines if more is None else [*lines, more]


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    size: bytes of all its image files. kinds, modes: how many there are of each format and pixel mode, as Pillow names
    them. sides: width and height in pixels, int64 [N, 2]. classes: number of images in each subfolder, "" for those in
    none. copies: groups of paths with the same content. bad: (path, reason) of files that cannot be used. ignored:
    number of other and hidden files. unsupported: kind, number and first path of images of other kinds. sample: some
    images, decoded.
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
    unsupported: tuple[tuple[str, int, str], ...]
    sample: Sample

    @property
    def images(self) -> int:
        """Number of images whose header can be read."""
        return len(self.sides)

    @property
    def grey(self) -> bool:
        """Whether no image has colours, as far as pixel modes and the sample tell."""
        images = self.sample.images
        return len(images) > 0 and bool((images == images[:, :1]).all())


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
            header = decode.header(folder / entry.path)
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
        unsupported=found.unsupported,
        sample=taken,
    )


def _decoded(folder: Path, entries: Sequence[Entry], image_size: int, channels: int, most: int) -> Sample:
    count = min(most, len(entries))
    chosen = [entries[int(place)] for place in np.linspace(0, len(entries) - 1, count).round()]
    form, begin = Form(image_size, channels, intensity_range="auto"), time.perf_counter()
    images: list[NDArray[np.uint8]] = [np.empty((0, channels, image_size, image_size), np.uint8)]
    rows: list[NDArray[Any]] = [np.zeros(0, ROW)]
    good: list[str] = []
    bad: list[tuple[str, str]] = []
    done, deep = 0, dict[int, Deep]()
    with stage("decoding a sample", total=count) as progress:
        for batch in workers.decode_files([folder / entry.path for entry in chosen], form):
            deep |= {len(good) + number: each for number, each in batch.deep.items()}
            for number in range(batch.count):
                path = chosen[done + number].path
                if number in batch.bad:
                    bad.append((path, batch.bad[number]))
                else:
                    good.append(path)
            images.append(batch.images)
            rows.append(batch.rows)
            done += batch.count
            progress.update(batch.count)
    pixels, facts = np.concatenate(images), Facts(np.concatenate(rows))
    levels = facts.chosen_range(form.intensity_range)
    for number, each in deep.items():
        assert isinstance(levels, tuple)
        pixels[number] = intensity.to_bytes(each, *levels, channels, form.under)
        note_pixels(facts.rows[number : number + 1], pixels[number : number + 1])
    seconds = time.perf_counter() - begin
    return Sample(torch.from_numpy(pixels), tuple(good), tuple(bad), seconds, facts, levels)


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
