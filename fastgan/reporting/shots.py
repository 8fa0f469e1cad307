"""Pictures of real images with their name, Q's confidence, and a link to the original where that is a file.

Legend: N images.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import torch

from fastgan.data import loading
from fastgan.evaluation.code_summary import RunState, RunSummary, chosen_images
from fastgan.reporting import images
from fastgan.reporting.images import Picture


@dataclass(frozen=True)
class Shot:
    """A real image on the page.

    index: its place in the data; name: of its file, without folders, or # and its index; sure: Q's confidence in
    words; link: to the original, None where there is none.
    """

    picture: Picture
    index: int
    name: str
    sure: str
    link: str | None


class Originals:
    """The files of a run's images, as far as they are files.

    Args:
        beside: the folder of the page, whose own files it links to by their path from there, so that the page and they
            may be moved together.
    """

    def __init__(self, state: RunState, beside: Path | None = None) -> None:
        self.paths = state.images.paths
        self.folder = loading.data_folder(state.config)
        self._beside = None if beside is None else beside.resolve()

    def full_name(self, index: int) -> str:
        """The path in the data folder, or "image" and the index."""
        return f"image {index}" if self.paths is None else self.paths[index]

    def link(self, index: int) -> str | None:
        """A link to the original; None where it is no file, or gone."""
        if self.paths is None:
            return None
        path = Path(os.path.abspath(self.folder / self.paths[index]))
        try:
            if not path.is_file():
                return None
            if self._beside is not None and path.is_relative_to(self._beside):
                return quote(os.fsencode(path.relative_to(self._beside).as_posix()))
            return path.as_uri()
        except (OSError, ValueError):  # a name that the system does not take
            return None


class Shots:
    """Makes pictures of real images, each of them once."""

    def __init__(self, state: RunState, run: RunSummary, side: int, originals: Originals) -> None:
        self._state, self._run, self._side, self._originals = state, run, side, originals
        self._made: dict[int, Shot] = {}

    def __call__(self, chosen: Iterable[int]) -> list[Shot]:
        """Pictures of the images with these indices, in their order."""
        chosen = list(chosen)
        new = [i for i in dict.fromkeys(chosen) if i not in self._made]
        if new:
            for i, image in zip(new, chosen_images(self._state.images, torch.tensor(new)), strict=True):
                shown = Picture(images.embedded(image, self._side), self._text(i))
                full = self._originals.full_name(i)
                name = f"#{i}" if self._originals.paths is None else full.rpartition("/")[2] or full
                link = self._originals.link(i)
                self._made[i] = Shot(shown, i, name, f"{float(self._run.confidences_N[i]):.0%}", link)
        return [self._made[i] for i in chosen]

    def _text(self, index: int) -> str:
        """The alternative text: which image, its group and how sure Q is, and its second choice."""
        (code, second), (sure, also) = (
            found[index].tolist() for found in (self._run.readings.codes_N2, self._run.readings.confidences_N2)
        )
        text = f"{self._originals.full_name(index)}: group {code} with {sure:.0%}"
        text += f", group {second} with {also:.0%}" if also >= 0.005 else ""
        labels = self._state.images.labels
        return text if labels is None else f"{text}; real class {self._run.class_names[int(labels[index])]}"
