"""A Hugging Face data set on this machine: a folder of save_to_disk, or of parquet files, read by package `datasets`.

Nothing is downloaded, and no code of a data set is run. Images are decoded as files are (decode.py), which sees grey of
more than 8 bits by its type.

Legend: N images, C channels, S the side.
"""

from __future__ import annotations

import io
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fastgan.data import arrays, cache, facts
from fastgan.data.classes import is_part
from fastgan.data.decode import Form, Picture, decode, quiet
from fastgan.data.facts import Facts
from fastgan.data.image_set import ImageSet
from fastgan.data.scan import unreadable
from fastgan.errors import ConfigError, DataError
from fastgan.runtime import threads
from fastgan.runtime.stages import stage
from fastgan.text import pluralize

IMAGES = ("image", "img", "images", "picture", "photo", "pixel_values")  # names of columns, tried in this order
LABELS = (*("label", "labels", "fine_label", "class", "target", "y", "digit", "character", "category"), "coarse_label")
TESTS = ("test", "validation", "valid", "val", "dev", "eval", "holdout")  # parts that are held out, the first there is
LOOKED_AT = 100  # images by which a side and channels are chosen
TOGETHER = 256  # images decoded at a time
NAMED = 10  # bad images that a message names at most


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
        cache_dir: for what `datasets` makes of parquet files; None for the user's cache.

    Raises:
        ConfigError: package `datasets` is not installed.
        DataError: for a folder or columns that cannot be used, and for bad images unless they are skipped.
    """
    parts = _parts(folder, cache_dir)
    train, test = _train(parts, folder), _test(parts)
    chosen = test if others else train
    if chosen is None:
        return None
    labels = _labels(folder, train, test, chosen)
    if others and labels is None:
        return None
    form = Form(image_size, channels, ground)
    images, good, seen = _decoded(folder, chosen, form, skip_bad)
    if labels is None:
        return ImageSet("hf", images, None, 0, facts=seen)
    numbers, names = labels
    return ImageSet("hf", images, torch.from_numpy(numbers)[good], len(names), class_names=names, facts=seen)


def suited_form(folder: Path, cache_dir: Path | None = None) -> tuple[int, Literal[1, 3]]:
    """Side and channels with which to train on these images, by the first ones. Raises as `image_set`."""
    train = _train(_parts(folder, cache_dir), folder)
    first = train.select(range(min(LOOKED_AT, len(train))))
    pictures = [found for _, found in _pictures(folder, first, Form(8, 3)) if isinstance(found, Picture)]
    if not pictures:
        raise DataError(f"{folder}: none of the first {pluralize(len(first), 'image')} can be decoded; repair them")
    side = int(statistics.median(min(picture.source[-2:]) for picture in pictures))
    grey = all((picture.pixels == picture.pixels[:1]).all() for picture in pictures)
    return arrays.suited_side(side), 1 if grey else 3


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            "--dataset hf: needs the package datasets, which is not installed; pip install datasets"
        ) from error
    return datasets


def _parts(folder: Path, cache_dir: Path | None) -> dict[str, Any]:
    """The parts of a data set by their names."""
    library = _library()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one of save_to_disk, or of the parquet files")
    library.disable_progress_bars()
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            found = library.load_from_disk(str(folder))
            return dict(found) if isinstance(found, Mapping) else {"train": found}
        files = _parquet(folder)
        place = cache.place(folder, cache_dir, "hugging-face")
        place.mkdir(parents=True, exist_ok=True)
        (place / cache.SOURCE).write_bytes(os.fsencode(folder.resolve()) + b"\n")
        return {
            name: library.Dataset.from_parquet([str(file) for file in own], cache_dir=str(place))
            for name, own in files.items()
        }
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises many kinds; each means that it cannot be read
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{folder}: cannot be read as a Hugging Face data set ({cause}); save it again") from error


def _parquet(folder: Path) -> dict[str, list[Path]]:
    """The parquet files below a folder by the part that their names, or those of their folders, begin with."""
    files = sorted(path for path in folder.rglob("*.parquet") if path.is_file())
    if not files:
        raise DataError(
            f"{folder}: no Hugging Face data set, which has state.json, dataset_dict.json or parquet files; "
            "save one there with save_to_disk or to_parquet"
        )
    found: dict[str, list[Path]] = {}
    for file in files:
        words = [file.stem, *reversed(file.relative_to(folder).parent.parts)]
        part = next((word.lower() for word in words if is_part(word)), "train")
        name = next((known for known in ("train", *TESTS) if part.startswith(known)), "train")
        found.setdefault(name, []).append(file)
    for name, own in found.items():
        places = sorted({str(file.parent) for file in own})
        if len(places) > 1 and len({file.name for file in own}) < len(own):
            raise DataError(
                f"{folder}: holds several data sets ({places[0]} and {places[1]} have files of part {name}); name one "
                "of these folders with --data-dir"
            )
    return found


def _train(parts: Mapping[str, Any], folder: Path) -> Any:
    """The part to train on."""
    name = "train" if "train" in parts else next(iter(parts)) if len(parts) == 1 else None
    if name is None:
        raise DataError(
            f"{folder}: none of its parts {', '.join(parts)} is named train; name the folder of one of them"
        )
    if len(parts[name]) == 0:
        raise DataError(f"{folder}: its part {name} holds no images; name another folder")
    return parts[name]


def _test(parts: Mapping[str, Any]) -> Any:
    """The part that is held out; None where there is none."""
    found = next((parts[name] for name in TESTS if name in parts), None) if len(parts) > 1 else None
    return found if found is not None and len(found) else None


def _image_column(folder: Path, part: Any) -> str:
    library = _library()

    def shows(feature: Any) -> bool:
        encoded = isinstance(feature, Mapping) and "bytes" in feature
        return encoded or isinstance(feature, library.Image) or getattr(feature, "dtype", "") == "binary"

    able = [name for name, feature in part.features.items() if shows(feature)]
    found = next((name for name in IMAGES if name in able), able[0] if able else None)
    if found is None:
        raise DataError(
            f"{folder}: its columns {', '.join(part.features)} hold no images; one must be of images as datasets.Image "
            "or of encoded files; rename or cast it, and save the data set again"
        )
    return found


def _label_column(part: Any) -> str | None:
    library = _library()

    def labels(feature: Any) -> bool:
        kind = str(getattr(feature, "dtype", ""))
        single = isinstance(feature, (library.ClassLabel, library.Value))
        return single and (kind.startswith(("int", "uint", "bool")) or kind in ("string", "large_string"))

    able = [name for name, feature in part.features.items() if labels(feature)]
    classes = [name for name in able if isinstance(part.features[name], library.ClassLabel)]
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
    if isinstance(feature, _library().ClassLabel):
        return own.astype(np.int64), tuple(feature.names)
    known = [np.asarray(part.with_format(None)[column][:]) for part in (train, test) if part is not None]
    values = np.unique(np.concatenate(known))
    return np.searchsorted(values, own).astype(np.int64), tuple(str(value) for value in values)


def _pictures(folder: Path, part: Any, form: Form) -> Iterator[tuple[int, Picture | str]]:
    """Each row's number and its decoded image, or why there is none."""
    library, column = _library(), _image_column(folder, part)
    part = part.select_columns([column])
    if isinstance(part.features[column], library.Image):
        part = part.cast_column(column, library.Image(decode=False))
    with ThreadPoolExecutor(threads.available()) as pool, quiet():
        rows = 0
        for batch in part.iter(batch_size=TOGETHER):
            for found in pool.map(lambda value: _picture(value, form), batch[column]):
                yield rows, found
                rows += 1


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


def _decoded(folder: Path, part: Any, form: Form, skip_bad: bool) -> tuple[torch.Tensor, torch.Tensor, Facts]:
    """The images, uint8 [n, C, S, S], the rows that they are of, int64 [n], and what was seen of them."""
    pixels = np.empty((len(part), form.channels, form.image_size, form.image_size), np.uint8)
    good: list[int] = []
    sources: list[tuple[Any, ...]] = []
    bad: list[tuple[int, str]] = []
    with stage(f"decoding {folder}", total=len(part)) as progress:
        for row, found in _pictures(folder, part, form):
            if isinstance(found, Picture):
                pixels[len(good)] = found.pixels
                good.append(row)
                sources.append(found.source)
            else:
                bad.append((row, found))
            progress.update(1)
    if bad:
        named = "; ".join(f"row {row}: {reason}" for row, reason in bad[:NAMED])
        named += f"; and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
        if not skip_bad or not good:
            raise DataError(
                f"{folder}: {len(bad):,} of {pluralize(len(part), 'image')} cannot be used ({named}); repair them"
                + ("" if skip_bad else ", or leave them out with --skip-bad")
            )
        print(f"{folder}: left out {pluralize(len(bad), 'bad image')} ({named})", file=sys.stderr)
    pixels = pixels[: len(good)]
    return torch.from_numpy(pixels), torch.tensor(good), Facts(facts.seen(sources, pixels))
