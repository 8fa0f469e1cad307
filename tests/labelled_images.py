"""Labelled images that any judge learns in a few steps, and the settings of a run on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data.image_set import ImageSet, JudgeSet
from fastgan.evaluation import evaluator, judge_plan


def flat(count: int, classes: int = 2, size: int = 8, *, known: bool = True) -> ImageSet:
    """Images of noise, brighter by class; where the class is not `known` to them, of noise alone."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 60, (count, 1, size, size), generator=draw)
    if known:
        images = images + (labels * 190 // (classes - 1)).view(-1, 1, 1, 1)
    paths = tuple(f"{label}/{number}.png" for number, label in enumerate(labels.tolist()))
    return ImageSet("folder", images.to(torch.uint8), labels, classes, paths, tuple("abcdefgh"[:classes]))


def where_code_is_seen(codes_N: torch.Tensor) -> ImageSet:
    """Images of noise with one bright quarter, by their code, which is their class."""
    images = torch.randint(0, 60, (len(codes_N), 1, 2, 2, 8, 8), dtype=torch.uint8)
    for image, code in zip(images, codes_N.tolist(), strict=True):
        image[:, code // 2, code % 2] += 180
    return ImageSet("noise", images.transpose(3, 4).reshape(-1, 1, 16, 16), codes_N, 4)


def config(**other: Any) -> TrainConfig:
    network = NetworkConfig(width=4, hidden=8, embedding=4)
    values: dict[str, Any] = {"dataset": "folder", "imbalance": "none", "classes": 3, "image_size": 8}
    return TrainConfig(network=network, **(values | other))


def like_mnist(seed: int, name: str = "mnist") -> JudgeSet:
    """What stands in four idx files of a data set in MNIST's place, much smaller."""
    draw = torch.Generator().manual_seed(seed)
    parts = []
    for count in (60, 20):
        images = torch.randint(0, 256, (count, 1, 8, 8), generator=draw).to(torch.uint8)
        parts.append(ImageSet(name, images, torch.randint(0, 10, (count,), generator=draw), 10))
    return JudgeSet(name, *parts)


def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans of 40 steps, and evaluations of 20 images a code."""
    monkeypatch.setattr(judge_plan, "FEWEST_STEPS", 40)
    monkeypatch.setattr(judge_plan, "MOST_STEPS", 40)
    monkeypatch.setattr(evaluator, "PER_CODE", 20)
