"""The whole model as one module: its state_dict is saved in checkpoints and is loaded in place."""

from __future__ import annotations

import pytest
import torch

from fastgan.config.schema import NetworkConfig
from fastgan.models.elastic_infogan import ElasticInfoGAN
from fastgan.models.networks import Generator, Networks, Shape
from fastgan.models.prior import ClassPrior


def make_model(classes: int = 10, *, seed: int = 0, average: bool = True) -> ElasticInfoGAN:
    shape = Shape(16, 1, classes, NetworkConfig(width=4, hidden=16))
    networks = Networks(shape).initialise(seed)
    return ElasticInfoGAN(networks, ClassPrior("learned", classes), Generator(shape) if average else None)


@pytest.mark.parametrize("average", [True, False])
def test_state_dict_has_the_checkpoint_keys(average: bool) -> None:
    model = make_model(average=average)
    owners = {key.partition(".")[0] for key in model.state_dict()}
    assert owners == {"networks", "prior"} | ({"average"} if average else set())
    assert model.sampling_generator is (model.average if average else model.networks.generator)


def test_loading_copies_in_place() -> None:
    """Captured graphs read the same tensors."""
    model, other = make_model(), make_model(seed=1)
    places = {key: value.data_ptr() for key, value in model.state_dict().items()}
    result = model.load_state_dict(other.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]) and value.data_ptr() == places[key], key


def test_an_unused_average_is_ignored() -> None:
    model = make_model(average=False)
    model.load_state_dict(make_model().state_dict())
    assert model.average is None


def test_other_shapes_are_refused_naming_the_part() -> None:
    with pytest.raises(RuntimeError, match=r"for Networks:[^$]*size mismatch for generator\.linear\.0\.weight"):
        make_model(11).load_state_dict(make_model().state_dict())


def test_a_restart_is_a_new_model_in_the_same_tensors() -> None:
    model, fresh = make_model(seed=3), make_model(seed=1)
    assert model.average is not None
    weight = model.networks.generator.image.weight
    model.restart(1, ClassPrior("learned", 10))
    for key, value in fresh.networks.state_dict().items():
        assert torch.equal(model.networks.state_dict()[key], value), key
    assert model.networks.generator.image.weight is weight
    assert torch.equal(model.average.image.weight, weight)
