"""Data sets in MNIST's files, idx, gzip or plain: MNIST, FashionMNIST, KMNIST, EMNIST; torchvision downloads them."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fastgan.data import idx_names
from fastgan.data.downloads import Source, download
from fastgan.data.idx import read_idx
from fastgan.data.image_set import ImageSet, JudgeSet, resized
from fastgan.data.imbalance import imbalanced
from fastgan.data.other_sets import found_instead
from fastgan.errors import DataError

FILES = {
    ("train", "images"): ("train-images-idx3-ubyte", 3),
    ("train", "labels"): ("train-labels-idx1-ubyte", 1),
    ("test", "images"): ("t10k-images-idx3-ubyte", 3),
    ("test", "labels"): ("t10k-labels-idx1-ubyte", 1),
}
SIDE = 28
FASHION = (*("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),)
FIVE = ("trouser", "bag", "T-shirt or dress", "pullover, coat or shirt", "shoe")
TO_FIVE = (2, 0, 3, 2, 3, 4, 3, 4, 1, 4)  # FashionMNIST's class -> its class of FIVE (arXiv 2106.05319, section 5)
OTHER_DATA = "name the folder of its own files with --data-dir, or write the images out for --dataset folder"


@dataclass(frozen=True)
class IdxSet:
    """A data set in four idx files.

    title: its name, and torchvision's class, which extracts to TITLE/raw. site: where it is published. class_names: of
    its labels, in their order. emnist: EMNIST's name of the split, "" of others: its files have names of their own, its
    images lie on their side, and the letters' labels begin with 1.
    """

    title: str
    site: str
    classes: int = 10
    class_names: tuple[str, ...] | None = None
    emnist: str = ""

    def files(self) -> dict[tuple[str, str], tuple[str, int]]:
        """(part, images or labels) -> (file name, number of dimensions)."""
        if not self.emnist:
            return FILES
        return {
            (part, kind): (f"emnist-{self.emnist}-{part}-{kind}-idx{dimensions}-ubyte", dimensions)
            for (part, kind), (_, dimensions) in FILES.items()
        }

    def places(self) -> tuple[str, ...]:
        """Folders in --data-dir where the files may be."""
        return (f"{self.title}/raw", *((f"{self.title}/raw/gzip", "gzip") if self.emnist else ()), "")


EMNIST_SPLITS = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
_EMNIST = "https://www.nist.gov/itl/products-and-services/emnist-dataset (gzip.zip, unpacked)"
SETS = {
    "mnist": IdxSet("MNIST", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    "fashion-mnist": IdxSet("FashionMNIST", "https://github.com/zalandoresearch/fashion-mnist", class_names=FASHION),
    "kmnist": IdxSet(
        "KMNIST",
        "https://github.com/rois-codh/kmnist",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    "emnist-letters": IdxSet("EMNIST", _EMNIST, 26, tuple(string.ascii_uppercase), "letters"),
    "emnist-digits": IdxSet("EMNIST", _EMNIST, 10, None, "digits"),
    "emnist-balanced": IdxSet(
        "EMNIST", _EMNIST, 47, tuple(string.digits + string.ascii_uppercase + "abdefghnqrt"), "balanced"
    ),
}
TITLES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}  # in files of the same names


def _find(folder: Path, name: str, data_set: str) -> Path | None:
    for inner in SETS[data_set].places():
        for file_name in (name, f"{name}.gz"):
            if (folder / inner / file_name).is_file():
                return folder / inner / file_name
    return None


def _download(folder: Path, data_set: str) -> None:
    kind = SETS[data_set]
    names = [name for name, _ in kind.files().values()]
    raw = folder / kind.title / "raw"

    def call() -> None:
        from torchvision import datasets

        split = {"split": kind.emnist} if kind.emnist else {}
        getattr(datasets, kind.title)(str(folder), download=True, **split)

    splits = EMNIST_SPLITS if kind.emnist else ("",)  # torchvision extracts them all
    all_names = [name for split in splits for name, _ in replace(kind, emnist=split).files().values()]
    makes = [raw / f"{name}{end}" for name in all_names for end in ("", ".gz")]
    makes += [raw / "gzip.zip"] if kind.emnist else []
    hint = idx_names.near_misses(folder, names) or found_instead(folder, "emnist" if kind.emnist else data_set)
    title = f"{kind.title} {kind.emnist}".strip()
    download(folder, Source(title, [f"{name}[.gz]" for name in names], kind.site), call, makes, hint)


def parts(folder: Path, data_set: str = "mnist") -> tuple[ImageSet, ImageSet]:
    """The training and test images, 28x28; downloaded if they are not in `folder`.

    Args:
        data_set: a name of SETS.

    Raises:
        DataError: when a file is missing, damaged, or of another data set.
    """
    kind = SETS[data_set]
    files = kind.files()
    if not any(_find(folder, name, data_set) for name, _ in files.values()):
        for place in (folder, folder / kind.title / "raw"):
            if near := idx_names.near_misses(place, [name for name, _ in files.values()], below=False):
                raise DataError(near)
        _download(folder, data_set)
    arrays = {}
    for key, (name, dimensions) in files.items():
        path = _find(folder, name, data_set)
        if path is None:
            near = idx_names.near_misses(folder, [name], below=False)
            others = f"the other {kind.title} files are there"
            raise DataError(f"{folder / name}[.gz]: missing; {near or f'{others}, fetch this one as well'}")
        arrays[key] = read_idx(path, dimensions)
    sets = [_checked(folder, data_set, part, arrays) for part in ("train", "test")]
    _check_title(folder, data_set, arrays["train", "labels"])
    return sets[0], sets[1]


def _checked(folder: Path, data_set: str, part: str, arrays: dict[tuple[str, str], Tensor]) -> ImageSet:
    """The images of a part; DataError where its files do not belong together, or to this data set."""
    kind, images, labels = SETS[data_set], arrays[part, "images"], arrays[part, "labels"]
    if len(images) != len(labels) or len(images) == 0:
        raise DataError(f"{folder}: {len(images)} {part} images but {len(labels)} labels; fetch both files again")
    if tuple(images.shape[1:]) != (SIDE, SIDE):
        size = "x".join(map(str, images.shape[1:]))
        raise DataError(f"{folder}: {part} images are {size}, expected {SIDE}x{SIDE}; {OTHER_DATA}")
    first = int(kind.emnist == "letters")
    last = first + kind.classes - 1
    wrong = [value for value in (int(labels.max()), int(labels.min())) if not first <= value <= last]
    if wrong:
        found = idx_names.of_emnist(labels) or "fetch the file again, or"
        raise DataError(
            f"{folder}: {part} labels reach {wrong[0]}, expected {first} to {last}; {found} name {kind.title}'s "
            "folder with --data-dir"
        )
    if kind.emnist:
        images = images.transpose(1, 2).contiguous()
    return ImageSet(data_set, images.unsqueeze(1), labels.long() - first, kind.classes, class_names=kind.class_names)


def _check_title(folder: Path, data_set: str, labels_N: Tensor) -> None:
    """Several data sets have files of the same names and sizes: the training labels tell them apart.

    MNIST and FashionMNIST begin with known labels; KMNIST has 6,000 of each class, which of the other two only
    FashionMNIST has.
    """
    found = None
    for name, labels in {"mnist": [5, 0, 4, 1, 9, 2, 1, 3], "fashion-mnist": [9, 0, 0, 3, 0, 2, 7, 2]}.items():
        found = name if labels_N[: len(labels)].tolist() == labels else found
    if found is None and torch.bincount(labels_N.long()).tolist() == [6_000] * 10:
        found = "kmnist"
    if found not in (None, data_set) and data_set in TITLES:
        raise DataError(f"{folder}: these are {TITLES[found]}'s files; use --dataset {found}, or another --data-dir")


def everything(folder: Path, image_size: int, data_set: str = "mnist") -> ImageSet:
    """All images, training and test, resized to image_size pixels."""
    train, test = parts(folder, data_set)
    assert train.labels is not None and test.labels is not None
    images, labels = torch.cat((train.images, test.images)), torch.cat((train.labels, test.labels))
    return replace(train, images=resized(images, image_size), labels=labels)


def five(folder: Path, image_size: int) -> tuple[ImageSet, ImageSet]:
    """FashionMNIST's training and test images, its ten classes merged into five of unequal size (FMNIST-5)."""
    train, test = (_merged(part, image_size) for part in parts(folder, "fashion-mnist"))
    return train, test


def _merged(images: ImageSet, image_size: int) -> ImageSet:
    assert images.labels is not None
    labels = torch.tensor(TO_FIVE)[images.labels]
    return ImageSet("fashion-mnist-5", resized(images.images, image_size), labels, len(FIVE), class_names=FIVE)


def choose(full: ImageSet, split: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """The subset with the class counts of `split`, and the rest."""
    return imbalanced(full, split, seed)


def judge_set(folder: Path, image_size: int, data_set: str = "mnist") -> JudgeSet:
    """The data set's own training and test images, resized to image_size pixels."""
    train, test = (replace(part, images=resized(part.images, image_size)) for part in parts(folder, data_set))
    return JudgeSet(data_set, train, test)
