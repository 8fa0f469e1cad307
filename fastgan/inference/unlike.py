"""A note where images that a run is to label are unlike those that it was trained on (data/likeness.py)."""

from __future__ import annotations

from typing import Any

from fastgan.data.image_set import ImageSet
from fastgan.data.likeness import Look, differences
from fastgan.inference.trained_run import TrainedRun
from fastgan.runs import run_folder
from fastgan.text import pluralize


def note(run: TrainedRun, images: ImageSet, name: str = "") -> str:
    """One line that says how the images differ and what to do; empty where they do not, or the run keeps no look.

    Args:
        name: of the run, instead of its folder.
    """
    before = training_look(run_folder.read_settings(run.run.path))
    how = [] if before is None else differences(before, images)
    if before is None or not how:
        return ""
    darker = Look.of(images).brightest[1] < before.brightest[0] / 2
    remedy = "; if their values have a scale of their own, such as 0 to 16, stretch them to 0 to 255" if darker else ""
    them = pluralize(len(images.images), "image")
    return (
        f"{them} unlike those that {name or run.run.path} was trained on ({'; '.join(how)}), so that their classes may "
        f"mean little{remedy}"
    )


def training_look(settings: dict[str, Any]) -> Look | None:
    """What the training images looked like, from what `run_folder.read_settings` returns; None in an older run."""
    began = settings["environment"]
    for each in (began, *began.get("resumed", [])):
        kept = each.get("images")
        found = Look.read(kept.get("look")) if isinstance(kept, dict) else None
        if found is not None:
            return found
    return None
