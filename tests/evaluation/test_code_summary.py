"""What is measured of each code, against figures worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import code_summary, confusion
from fastgan.evaluation.code_summary import RunState
from fastgan.models.networks import Networks, Shape

# Q's codes 1, 1, 0, 1 of the four images, the last being the surest of code 1; code 2 has none.
LOGITS = torch.tensor([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0], [5.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
LABELS = torch.tensor([0, 1, 1, 1])


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> RunState:
    """A run of three codes on four images, whose Q says LOGITS."""

    def read(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return LOGITS, LOGITS

    def read_transforms(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.arange(4), LOGITS.softmax(1)

    monkeypatch.setattr(code_summary, "read", read)
    monkeypatch.setattr(confusion, "read_transforms", read_transforms)
    network = NetworkConfig(width=4, hidden=8, embedding=4)
    config = TrainConfig(image_size=16, classes=3, network=network, batch_size=4)
    networks = Networks(Shape(16, 1, 3, network))
    networks.initialise(0)
    pixels = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)
    images = ImageSet("noise", pixels, LABELS, 2, class_names=("cat", "dog"))
    prior_K = torch.tensor([0.25, 0.5, 0.25])
    cpu = torch.device("cpu")
    return RunState(config, networks, networks.generator, prior_K, images, 320_000, [], {"environment": {}}, cpu)


def test_the_run_is_counted_by_code_and_class(state: RunState) -> None:
    run = code_summary.summarise_run(state)
    assert run.codes_N.tolist() == [1, 1, 0, 1]
    assert run.sizes_K.tolist() == [0.25, 0.75, 0.0] and run.unused == [2]
    assert run.counts_KC is not None and run.counts_KC.tolist() == [[0, 1], [1, 2], [0, 0]]
    # exp(entropy) of 1/4, 1/2, 1/4 is exp(1.5 log 2).
    assert run.effective == pytest.approx(2**1.5)


def test_codes_have_their_majority_class_and_their_images(state: RunState) -> None:
    one, zero, none = code_summary.summarise_codes(state, code_summary.summarise_run(state), most=3)
    assert [code.number for code in (one, zero, none)] == [1, 0, 2], "the largest first"
    assert one.stands_for == "dog" and one.true_share == 0.75 and one.share == 0.75 and one.probability == 0.5
    assert one.images.unsure_M.tolist() == [0, 1, 3]
    assert one.confidence == pytest.approx(float(LOGITS.softmax(1)[[0, 1, 3], 1].mean()))
    assert one.samples_SCHW.shape == (code_summary.SAMPLES, 1, 16, 16) and one.spread > 0
    assert math.isnan(zero.spread), "one real image has no distance to another"
    assert (none.confidence, none.stands_for, none.true_share) == (None, None, None) and not len(none.images.typical_M)


def test_only_the_codes_with_most_images_are_summarised(state: RunState) -> None:
    codes = code_summary.summarise_codes(state, code_summary.summarise_run(state), most=1)
    assert [code.number for code in codes] == [1]


def test_spread_is_relative_to_the_real_images() -> None:
    real = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert code_summary.relative_spread(real / 2, real) == pytest.approx(0.5)
    assert math.isnan(code_summary.relative_spread(real, real[:1]))
    assert math.isnan(code_summary.relative_spread(real, torch.zeros(2, 2)))
