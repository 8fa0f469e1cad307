"""The share of one's own labelled images that a judge is tested on and never trained on."""

from __future__ import annotations

import torch

from fastgan.data.image_set import ImageSet, JudgeSet, shuffled

SEED = 0  # the held-out share is the same for every run
ONE_IN = 5


def judge_set(images: ImageSet) -> JudgeSet:
    """A fifth of each class to test the judge on, and at least one image of it, the others to train the judge.

    The only image of a class is trained on, so that class is not tested. No image is copied: the sets are rows of
    `images`, and depend on its labels alone.
    """
    assert images.labels is not None
    labels = images.labels.cpu()
    members = labels.argsort(stable=True).split(torch.bincount(labels, minlength=images.label_count).tolist())
    train, test = [], []
    for label, rows in enumerate(members):
        order = rows[shuffled(len(rows), SEED, f"held-out-class-{label}")]
        held = max(len(rows) // ONE_IN, 1) if len(rows) > 1 else 0
        test.append(order[:held])
        train.append(order[held:])
    return JudgeSet(images.name, images, images, torch.cat(train).sort().values, torch.cat(test).sort().values)
