"""Splitting the user's labelled images into the judge's training and test sets."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from fastgan.data.image_set import ImageSet, JudgeSet
from fastgan.seeding import shuffled

SEED = 0  # the same held-out images for every run
ONE_IN = 5  # images are held out


def judge_set(images: ImageSet) -> JudgeSet:
    """A fifth of each class, at least one image, to test the judge; the others to train it.

    A class with a single image is only trained on. In YouTube-Faces whole videos are held out if a person has several,
    at most half of the person's frames: neighbouring frames are nearly equal, and would leak from training to test. No
    image is copied: the sets are rows of `images` that depend only on its labels (for YouTube-Faces also on its paths).
    """
    assert images.labels is not None
    labels = images.labels.cpu()
    members = labels.argsort(stable=True).split(torch.bincount(labels, minlength=images.label_count).tolist())
    train, test = [], []
    for label, rows in enumerate(members):
        held = _videos(images, rows, label) if images.name == "youtube-faces" else None
        if held is None:
            order = shuffled(len(rows), SEED, f"held-out-class-{label}")
            held = torch.zeros(len(rows), dtype=torch.bool)
            held[order[: max(len(rows) // ONE_IN, 1) if len(rows) > 1 else 0]] = True
        test.append(rows[held])
        train.append(rows[~held])
    return JudgeSet(images.name, images, images, torch.cat(train).sort().values, torch.cat(test).sort().values)


def _videos(images: ImageSet, rows: Tensor, label: int) -> Tensor | None:
    """Which of a person's frames are held out, bool [n]: whole videos, a fifth to a half; None if none fits."""
    assert images.paths is not None
    video_of = [images.paths[row].rpartition("/")[0] for row in rows.tolist()]
    frames = Counter(video_of)
    videos, held, count = sorted(frames), set(), 0
    for index in shuffled(len(videos), SEED, f"held-out-class-{label}").tolist():
        if count + frames[videos[index]] <= len(rows) / 2:
            held.add(videos[index])
            count += frames[videos[index]]
        if count * ONE_IN >= len(rows):
            break
    return torch.tensor([video in held for video in video_of]) if held else None
