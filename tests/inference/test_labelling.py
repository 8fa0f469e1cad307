"""What trained networks say of images and of their transforms."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fastgan.config.presets import preset
from fastgan.data import digits
from fastgan.evaluation import confusion
from fastgan.inference import labelling
from fastgan.models.networks import Networks, Shape

CONFIG = dataclasses.replace(preset("digits"), network=dataclasses.replace(preset("digits").network, width=4, hidden=8))
CPU = torch.device("cpu")


def networks() -> Networks:
    """Of weights large enough that images differ."""
    found = Networks(Shape(16, 1, 10, CONFIG.network, CONFIG.finer_codes)).initialise(0)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(20)
    return found


def test_transforms_are_read_of_the_same_images_each_time_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    images, net = digits.full(16).images[:300], networks()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    chosen, found = confusion.read_transforms(net, images, CONFIG, CPU)
    assert net.training and all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert sorted(chosen.tolist()) == list(range(300)) and found.shape == (300, 10)
    torch.testing.assert_close(found.sum(1), torch.ones(300))
    again = confusion.read_transforms(net, images, CONFIG, CPU)
    assert torch.equal(chosen, again[0]) and torch.equal(found, again[1])
    monkeypatch.setattr(confusion, "TRANSFORMED", 100)
    assert torch.equal(confusion.read_transforms(net, images, CONFIG, CPU)[0], chosen[:100])


def test_what_is_read_are_transforms_of_just_those_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images, net = digits.full(16).images[:300], networks()
    monkeypatch.setattr(labelling, "BATCH", 64)
    still = dataclasses.replace(
        CONFIG,
        transform=dataclasses.replace(
            CONFIG.transform, rotation=0.0, zoom=(1.0, 1.0), shift=0.0, shear=0.0, stretch=0.0
        ),
    )
    chosen, found = confusion.read_transforms(net, images, still, CPU)
    _, logits = labelling.read(net, images, still, CPU)
    torch.testing.assert_close(found, logits.softmax(1)[chosen], atol=1e-5, rtol=1e-3)
    _, moved = confusion.read_transforms(net, images, CONFIG, CPU)
    assert (moved - found).abs().max() > 1e-4
