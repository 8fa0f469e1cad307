"""The classes that --labels-from-folders finds, in words."""

from __future__ import annotations

import torch

from fastgan.data.image_set import ImageSet
from fastgan.text import pluralize, printable

NAMED = 20  # classes that a line names at most
# Folders that hold parts of a data set, by their first word.
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "holdout"}


def described(images: ImageSet) -> list[str]:
    """A line with the number of images of each class, and a warning where the folders are hardly classes.

    Empty for images without labels from folders.
    """
    if images.name != "folder" or images.labels is None or images.class_names is None:
        return []
    counts = torch.bincount(images.labels, minlength=images.label_count).tolist()
    named = [f"{printable(name)} {count:,}" for name, count in zip(images.class_names, counts, strict=True)]
    more = ""
    if len(named) > NAMED:
        rest = counts[NAMED:]
        more = f", and {len(rest):,} more of {min(rest):,} to {pluralize(max(rest), 'image')}"
    found = pluralize(len(named), "class", "classes")
    doubt = _doubt(images.class_names)
    line = f"labels from folders: {found} with so many images each: {', '.join(named[:NAMED])}{more}"
    return [line, *([f"warning: --labels-from-folders: {doubt}"] if doubt else [])]


def _doubt(names: tuple[str, ...]) -> str:
    """Why the folders are hardly classes; empty where nothing speaks against it."""
    parts = [name for name in names if is_part(name)]
    if len(parts) > 1 or len(parts) == len(names):
        listed = " and ".join(printable(name) for name in parts[:3])
        are = "looks like a part of a data set, not a class"
        if len(parts) > 1:
            are = "look like parts of a data set, not classes"
        return (
            f"{listed} {are}; name the folder in which the classes' folders are with --data-dir, such as the one named "
            f"{printable(parts[0])}, or leave the flag out"
        )
    if len(names) == 1:
        return (
            f"all images lie in the one folder {printable(names[0])}, which makes one class; name the folder in which "
            "the classes' folders are with --data-dir, or leave the flag out"
        )
    return ""


def is_part(name: str) -> bool:
    """Whether a folder's name is that of a part of a data set, by its first word: train, Train_set, test-2."""
    lower = name.lower()
    end = next((i for i, letter in enumerate(lower) if not letter.isalpha()), len(lower))
    return lower[:end].removesuffix("set") in PARTS
