"""The share of one's own labelled images that a judge is tested on and never trained on."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from fastgan.data.image_set import ImageSet, JudgeSet
from fastgan.seeding import shuffled

SEED = 0  # the held-out share is the same for every run
ONE_IN = 5


def judge_set(images: ImageSet) -> JudgeSet:
    """A fifth of each class to test the judge on, and at least one image of it, the others to train the judge.

    The only image of a class is trained on, so that class is not tested. Of YouTube-Faces whole videos are held out
    where a person has several, at most half of the frames: neighbouring frames are nearly one image, and a judge that
    has seen one knows the other. No image is copied: the sets are rows of `images`, and depend on its labels (and of
    YouTube-Faces its paths) alone.
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
    """Which of a person's frames are held out, bool: whole videos, until a fifth is; None where that would be most."""
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
