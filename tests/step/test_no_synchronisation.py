"""An iteration neither waits for the device nor copies to it: checked on the ops that it runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastgan.config.presets import preset
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import loading
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.step.step import Step
from fastgan.training.engine import build_feed
from fastgan.training.loader import DeviceLoader
from kernels import use_backend

SMALL = TrainConfig(image_size=28, batch_size=16, average_decay=0.9, network=NetworkConfig(width=8, hidden=64))
DEFAULT = dataclasses.replace(
    preset("mnist"), dataset="digits", batch_size=16, average_decay=0.9, network=SMALL.network, finer_codes=15
)
META = torch.device("meta")


class Dispatched(TorchDispatchMode):
    """Notes each op that needs a tensor's values on the host, whose size depends on them, or that crosses devices."""

    SYNCHRONISING = frozenset(
        ["_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "bincount"]
    )
    FROM_HOST = frozenset(["lift_fresh", "lift_fresh_copy", "_pin_memory"])  # torch.tensor(...) of Python's numbers

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.count = 0
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count += 1
        indices = args[1] if name in ("index", "index_put", "index_put_") else []
        by_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        if name in self.SYNCHRONISING | self.FROM_HOST or by_mask:
            self.found.append(name)
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        if any(tensor.device != self.device for tensor in tensors):
            self.found.append(f"{name} between devices")
        return result


def test_dispatched_detects_synchronisation() -> None:
    x = torch.arange(4.0)
    with Dispatched(torch.device("cpu")) as dispatched:
        x.sum().item()
        x[x > 1]
        torch.equal(x, x)
        torch.tensor([1.0, 2.0])
        x.to("meta")
    assert {"_local_scalar_dense", "index", "equal", "lift_fresh", "_to_copy between devices"} <= set(dispatched.found)


def iterate(step: Step, feed: DeviceLoader) -> Tensor:
    """What a graph captures."""
    return step(*feed.batch_at(step.images_seen))


def parts(config: TrainConfig) -> tuple[Step, DeviceLoader]:
    networks = Networks(Shape(28, 1, 10, config.network, config.finer_codes)).initialise(0)
    feed = build_feed(config, loading.load(config), torch.device("cpu"))
    feed.prefetch(0, 64)
    return Step(networks, ClassPrior("learned", 10), config, torch.device("cpu")), feed


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("amp_dtype", [None, "bfloat16", "float16"])
@pytest.mark.parametrize("recipe", [SMALL, DEFAULT], ids=["paper", "default"])
def test_an_iteration_never_waits_for_the_device(recipe: TrainConfig, amp_dtype: str | None, backend: Any) -> None:
    """No op needs a value on the host, and none is brought from it; fused Adam reads none by itself either.

    Excepted are the plain versions for a CPU, which make their random numbers with NumPy.
    """
    use_backend(backend)
    config = dataclasses.replace(recipe, amp=amp_dtype is not None, amp_dtype=amp_dtype or "bfloat16")
    step, feed = parts(config)
    iterate(step, feed)  # the optimisers' state is made here
    with Dispatched(torch.device("cpu")) as dispatched:
        iterate(step, feed)
    assert dispatched.count > 100
    assert [name for name in dispatched.found if backend == "reference" or name != "lift_fresh"] == []


@pytest.mark.parametrize("config", [SMALL, DEFAULT], ids=["paper", "default"])
def test_an_iteration_touches_one_device_only(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that holds no values: whatever reads one fails, and whatever is made on the host shows.

    Adam is replaced: torch's fused one has no such device, and the others read their step counts.
    """

    def descent(
        config: TrainConfig, precision: Any, networks: Networks, parameters: Any, prior: Any, *more: Any, **named: Any
    ) -> torch.optim.Optimizer:
        return torch.optim.SGD([*parameters, *prior], lr=0.1)

    monkeypatch.setattr("fastgan.step.optimizers.make_adam", descent)
    monkeypatch.setattr("fastgan.step.optimizers.step_unless", lambda optimizer, bad: optimizer.step())
    networks = Networks(Shape(28, 1, 10, config.network, config.finer_codes)).to(META)
    step = Step(networks, ClassPrior("learned", 10).to(META), config, META)
    images = torch.empty(100, 1, 28, 28, dtype=torch.uint8, device=META)
    feed = DeviceLoader(images, torch.arange, batch_size=16, transform=None, chunk=64, grouped=bool(config.grouping.at))
    feed.augmented = torch.empty(feed.real.shape, device=META)
    with pytest.raises(RuntimeError, match="meta"):
        step.images_seen.item()
    with Dispatched(META) as dispatched:
        losses = iterate(step, feed)
    assert losses.device == META and dispatched.count > 100
    assert dispatched.found == []
