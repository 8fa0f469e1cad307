"""The images and labels of a Hugging Face data set on this machine (data/hf_files.py), read by package `datasets`.

Nothing is downloaded, and no code of a data set is run. Images are decoded as files are (decode.py), which sees grey of
more than 8 bits by its type, and kept in the cache as those of a folder are.

Legend: N images, C channels, S the side.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fastgan.data import arrays, cache, remarks, workers
from fastgan.data.decode import Form, Picture, decode, quiet
from fastgan.data.hf_files import digest, held_out_part, library, read_parts, training_part
from fastgan.data.image_set import ImageSet
from fastgan.data.scan import Entry, Scan, unreadable
from fastgan.data.workers import Batch
from fastgan.errors import DataError
from fastgan.runtime import threads
from fastgan.text import pluralize

# Names of columns, tried in this order; the last ones are endings of a WebDataset's members.
IMAGES = (*("image", "img", "images", "picture", "photo", "pixel_values"), *("jpg", "jpeg", "png", "webp", "tif"))
LABELS = (
    *("label", "labels", "fine_label", "class", "target", "y", "digit", "character", "category"),
    "coarse_label",
    "cls",
)
ROW = "row "  # before an image's number, where a file would have its path
LOOKED_AT = 100  # images by which a side and channels are chosen
TOGETHER = 256  # images decoded at a time
NAMED = 10  # bad images that a message names at most


class _ElsewhereError(Exception):
    """An image is a file that the data set only names, of which `digest` knows nothing."""


def image_set(
    folder: Path,
    image_size: int,
    channels: int,
    *,
    ground: str = "black",
    skip_bad: bool = False,
    cache_dir: Path | None = None,
    others: bool = False,
) -> ImageSet | None:
    """The training part's images and labels, uint8 [N, C, S, S]; `others`: the test part's, None without labels there.

    Args:
        ground: as the setting. skip_bad: leave out images that cannot be decoded, and print which.
        cache_dir: for decoded images, and what `datasets` makes of packed files; None for the user's cache.

    Raises:
        ConfigError: package `datasets` is not installed.
        DataError: for a folder or columns that cannot be used, and for bad images unless they are skipped.
    """
    parts = read_parts(folder, cache_dir)
    train, test = training_part(parts, folder), held_out_part(parts)
    chosen = test if others else train
    if chosen is None:
        return None
    labels = _labels(folder, train, test, chosen)
    if others and labels is None:
        return None
    choice = "heldout" if others else "train"
    decoded = _decoded(folder, chosen, choice, Form(image_size, channels, ground), skip_bad, cache_dir)
    if labels is None:
        return ImageSet("hf", decoded.images, None, 0, facts=decoded.facts)
    numbers, names = labels
    good = [int(path.removeprefix(ROW)) for path in decoded.paths]
    own = torch.from_numpy(numbers)[good]
    return ImageSet("hf", decoded.images, own, len(names), class_names=names, facts=decoded.facts)


def suited_form(folder: Path, cache_dir: Path | None = None) -> tuple[int, Literal[1, 3]]:
    """Side and channels with which to train on these images, by the first ones. Raises as `image_set`."""
    train = training_part(read_parts(folder, cache_dir), folder)
    first = train.select(range(min(LOOKED_AT, len(train))))
    found = [each for batch in _pictures(folder, first, Form(8, 3)) for each in batch]
    pictures = [each for each in found if isinstance(each, Picture)]
    if not pictures:
        raise DataError(f"{folder}: none of the first {pluralize(len(first), 'image')} can be decoded; repair them")
    side = int(statistics.median(min(picture.source[-2:]) for picture in pictures))
    grey = all((picture.pixels == picture.pixels[:1]).all() for picture in pictures)
    return arrays.suited_side(side), 1 if grey else 3


def _image_column(folder: Path, part: Any) -> str:
    datasets = library()

    def shows(feature: Any) -> bool:
        encoded = isinstance(feature, Mapping) and "bytes" in feature
        return encoded or isinstance(feature, datasets.Image) or getattr(feature, "dtype", "") == "binary"

    able = [name for name, feature in part.features.items() if shows(feature)]
    found = next((name for name in IMAGES if name in able), able[0] if able else None)
    if found is None:
        raise DataError(
            f"{folder}: its columns {', '.join(part.features)} hold no images; one must be of images as datasets.Image "
            "or of encoded files; rename or cast it, and save the data set again"
        )
    return found


def _label_column(part: Any) -> str | None:
    datasets = library()

    def labels(feature: Any) -> bool:
        kind = str(getattr(feature, "dtype", ""))
        single = isinstance(feature, (datasets.ClassLabel, datasets.Value))
        return single and (kind.startswith(("int", "uint", "bool")) or kind in ("string", "large_string"))

    able = [name for name, feature in part.features.items() if labels(feature)]
    classes = [name for name in able if isinstance(part.features[name], datasets.ClassLabel)]
    return next((name for name in LABELS if name in able), classes[0] if len(classes) == 1 else None)


def _labels(folder: Path, train: Any, test: Any, chosen: Any) -> tuple[NDArray[np.int64], tuple[str, ...]] | None:
    """The classes of the images of a part, int64 [N], and their names; None without any."""
    column = _label_column(train)
    if column is None or column not in chosen.features:
        return None
    own = np.asarray(chosen.with_format(None)[column][:])
    if own.dtype == object or (own.dtype.kind in "iu" and (own < 0).any()):
        print(f"{folder}: column {column} lacks some labels (-1 or nothing), and is left out", file=sys.stderr)
        return None
    feature = train.features[column]
    if isinstance(feature, library().ClassLabel):
        return own.astype(np.int64), tuple(feature.names)
    known = [np.asarray(part.with_format(None)[column][:]) for part in (train, test) if part is not None]
    values = np.unique(np.concatenate(known))
    return np.searchsorted(values, own).astype(np.int64), tuple(str(value) for value in values)


def _pictures(folder: Path, part: Any, form: Form, *, inside: bool = False) -> Iterator[list[Picture | str]]:
    """The decoded images of the rows, or why there is none, TOGETHER at a time.

    Args:
        inside: raise _ElsewhereError for an image that the data set only names.
    """
    datasets, column = library(), _image_column(folder, part)
    part = part.select_columns([column])
    if isinstance(part.features[column], datasets.Image):
        part = part.cast_column(column, datasets.Image(decode=False))
    with ThreadPoolExecutor(threads.available()) as pool, quiet():
        for batch in part.iter(batch_size=TOGETHER):
            if inside and any(map(_named_only, batch[column])):
                raise _ElsewhereError
            yield list(pool.map(lambda value: _picture(value, form), batch[column]))


def _named_only(value: Any) -> bool:
    """Whether a row has an image's path instead of an image."""
    return isinstance(value, Mapping) and value.get("bytes") is None and value.get("path") is not None


def _picture(value: Any, form: Form) -> Picture | str:
    """What an encoded image decodes to, or why it cannot be used."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (value, None)
    try:
        if content is not None:
            return decode(io.BytesIO(content), form)
        if path is None:
            return "no image"
        with open(path, "rb") as file:
            return decode(file, form)
    except DataError as error:
        return str(error)
    except OSError as error:
        return unreadable(error)


def _decoded(folder: Path, part: Any, choice: str, form: Form, skip_bad: bool, cache_dir: Path | None) -> cache.Decoded:
    """The images of a part, from the cache if it has them; prints what was decoded, left out or is remarkable."""
    entries = tuple(Entry(f"{ROW}{row}", 0, 0) for row in range(len(part)))
    source, begin = f"{digest(folder)} {_image_column(folder, part)}", time.perf_counter()

    def obtain(source: str, *, inside: bool) -> cache.Decoded:
        def batches() -> Generator[Batch]:
            for found in _pictures(folder, part, form, inside=inside):
                yield workers.as_batch(found, form)

        return cache.obtain(folder, Scan(entries, (), 0, source=source), form, choice, cache_dir, batches)

    try:
        decoded = obtain(source, inside=True)
    except _ElsewhereError:  # decoded each time
        decoded = obtain(f"{source} {time.time_ns()}", inside=False)
    if decoded.bad:
        _refuse_or_name(folder, decoded, skip_bad)
    if decoded.new:
        taken = f"{time.perf_counter() - begin:.1f} s, kept in {cache.cache_dir(cache_dir)}"
        print(f"{folder}: decoded {pluralize(len(decoded.paths), 'image')} in {taken}", file=sys.stderr)
        for line in remarks.of_images(decoded.facts, decoded.paths, decoded.intensity_range, form.ground):
            print(f"{folder}: {line}", file=sys.stderr)
    return decoded


def _refuse_or_name(folder: Path, decoded: cache.Decoded, skip_bad: bool) -> None:
    """Print which images are left out; raise DataError where they must not be, or no others are there."""
    bad = decoded.bad
    named = "; ".join(f"{row}: {reason}" for row, reason in bad[:NAMED])
    named += f"; and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    if not skip_bad or not decoded.paths:
        raise DataError(
            f"{folder}: {len(bad):,} of {pluralize(len(bad) + len(decoded.paths), 'image')} cannot be used ({named}); "
            "repair them" + ("" if skip_bad else ", or leave them out with --skip-bad")
        )
    print(f"{folder}: left out {pluralize(len(bad), 'bad image')} ({named})", file=sys.stderr)
