"""What files are that are nearly the wanted ones: their names, and EMNIST's labels in MNIST's place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from fastgan.data.scan import shown
from fastgan.text import pluralize

MOST_ENTRIES = 10_000  # that are looked at, files and folders
EMNIST = {26: "letters", 47: "balanced or by merge", 62: "by class"}  # classes of its splits
READ = {26: "letters", 47: "balanced"}  # those that are read by name


def near_misses(folder: Path, names: Sequence[str], below: bool = True) -> str:
    """A line about a file whose name is nearly one of `names`; empty where there is none.

    Nearly: but for capitals, signs, "(1)" and the like, as in train-images.idx3-ubyte; or right, in another place.

    Args:
        below: look into two floors of folders below `folder` too, where files may be another data set's.
    """
    wanted = {_bare(name): name for name in names}
    found = [(path, wanted[_bare(path.name)]) for path in _files(folder, below) if _bare(path.name) in wanted]
    if not found:
        return ""
    path, name = min(found, key=lambda each: (each[0].parent != folder, names.index(each[1])))
    packed = path.suffix.lower() == ".gz" and not name.endswith(".gz")
    right = f"{name}.gz" if packed else name
    told = f"is nearly the name {right}; rename it"
    if path.name == right:
        alone = len({path.parent for path, _ in found}) == 1
        told = f"is not in {folder} itself; " + (f"add --data-dir {path.parent}" if alone else "move it there")
    others = len({name for _, name in found}) - 1
    return f"{shown(str(path))} {told}" + (f", and {pluralize(others, 'file')} likewise" if others else "")


def _bare(name: str) -> str:
    """A file's name without what people and programs change: capitals, signs, the number of a copy, .gz."""
    name = re.sub(r"\.gz$", "", name.lower())
    name = re.sub(r"( copy)?( ?\(\d+\))?(\.gz)?(\.tar|\.bz2|\.mat)?$", r"\4", name)
    return re.sub(r"[^a-z0-9]", "", name)


def _files(folder: Path, below: bool) -> Iterator[Path]:
    """The files of a folder, and of those below it; none of what cannot be read."""
    left, places = MOST_ENTRIES, [folder]
    for place in places:
        try:
            entries = sorted(place.iterdir())[:left]
        except OSError:
            continue
        left -= len(entries)
        for entry in entries:
            if entry.is_file():
                yield entry
            elif below and len(place.relative_to(folder).parts) < 2 and entry.is_dir():
                places.append(entry)


def of_emnist(labels_N: Tensor) -> str:
    """What to do with EMNIST's letters, whose files have MNIST's form; empty where the labels are not like theirs."""
    count = len(labels_N.unique())
    if count not in EMNIST:
        return ""
    if count in READ:
        return (
            f"their {count} classes are those of EMNIST {EMNIST[count]}: give its files the names that it has them "
            f"under, emnist-{READ[count]}-train-images-idx3-ubyte and so on, and use --dataset emnist --emnist-split "
            f"{READ[count]}, or"
        )
    return (
        f"their {count} classes are those of EMNIST {EMNIST[count]}: write its images out as files (torchvision reads "
        f"them) and use --dataset folder --classes {count}, or"
    )
