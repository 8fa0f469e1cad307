"""scikit-learn's digits: 1,797 real 8x8 images that need no download."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from fastgan.data.image_set import ImageSet, JudgeSet, resized
from fastgan.data.imbalance import scaled_split
from fastgan.seeding import shuffled

HELD_OUT_SEED = 0  # the same held-out fifth for every run


def full(image_size: int) -> ImageSet:
    """All 1,797 digits, resized to image_size pixels."""
    digits = load_digits()
    grey = torch.from_numpy(digits.images).unsqueeze(1) * (255.0 / 16.0)
    images = resized(grey.round().to(torch.uint8), image_size)
    return ImageSet("digits", images, torch.from_numpy(digits.target).long(), 10)


def choose(full: ImageSet, split: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Digits with the class frequencies of `split`, its counts scaled to what the rarest digit allows; and the rest."""
    return scaled_split(full, split, seed)


def judge_set(image_size: int) -> JudgeSet:
    """Four fifths to train the judge, one fifth to test it."""
    everything = full(image_size)
    assert everything.labels is not None
    order = shuffled(len(everything.images), HELD_OUT_SEED, "digits-held-out")
    fifth = len(order) // 5
    test, train = [
        ImageSet("digits", everything.images[index], everything.labels[index], 10)
        for index in (order[:fifth], order[fifth:])
    ]
    return JudgeSet("digits", train, test)
