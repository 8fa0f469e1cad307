"""CudaGraphRunner without a GPU, with simulated graphs. The rest is in test_cuda_graphs_gpu.py."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import loading
from fastgan.errors import ConfigError
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.step.step import Step
from fastgan.training.cuda_graphs import UNROLL, CudaGraphRunner
from fastgan.training.engine import build_feed
from fastgan.training.loader import DeviceLoader

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = TrainConfig(image_size=16, batch_size=16, average_decay=0.9, network=NetworkConfig(width=4, hidden=32))


class Training:
    """A small run in float64: a step, its feed, and the sum of its losses."""

    def __init__(self, dtype: torch.dtype = torch.float64, **changes: Any) -> None:
        config = dataclasses.replace(SMALL, **changes)
        networks = Networks(Shape(16, 1, 10, config.network)).initialise(0).to(dtype)
        self.step = Step(networks, ClassPrior("learned", 10).to(dtype), config, CPU)
        self.feed: DeviceLoader = build_feed(config, loading.load(config), CPU, dtype)
        self.feed.prefetch(0, 50 * config.batch_size)
        self.loss_sum = torch.zeros(6, dtype=torch.float64)

    def iterate(self) -> None:
        self.loss_sum += self.step(*self.feed.batch_at(self.step.images_seen))

    def state(self) -> dict[str, Tensor]:
        return {**self.step.live_state(), "loss_sum": self.loss_sum}

    def copy_of_state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.state().items()}


def same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


class PlayedGraphs:
    """Stands in for CUDA graphs: what is captured is not executed, and each replay executes it."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.replayed: list[int] = []
        self.fails = False

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        played = self

        class Graph:
            count = 0

            def replay(self) -> None:
                played.replayed.append(self.count)
                for _ in range(self.count):
                    played.training.iterate()

        class Stream:
            cuda_stream = 0  # the default one

            def __init__(self, *_: Any) -> None: ...

            def wait_stream(self, _: Any) -> None: ...

        @contextlib.contextmanager
        def graph(into: Graph, stream: None, capture_error_mode: str) -> Iterator[None]:
            assert stream is None and capture_error_mode == "thread_local"
            before, clock = played.training.copy_of_state(), int(played.training.step.images_seen)
            yield
            if played.fails:
                try:
                    raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
                finally:
                    raise RuntimeError("capture failed due to a previous error")
            into.count = (int(played.training.step.images_seen) - clock) // SMALL.batch_size
            for name, value in played.training.state().items():
                value.copy_(before[name])

        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "current_stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "graph", graph)


def trained_eagerly(steps: int, **changes: Any) -> Training:
    training = Training(**changes)
    for _ in range(steps):
        training.iterate()
    return training


@pytest.mark.parametrize("count", [1, 3, 8, 21])
def test_many_iterations_equal_single_ones(count: int) -> None:
    """float64, one unrolled function against single steps: every tensor bit for bit."""
    training = Training()
    iterations = CudaGraphRunner(training.iterate, training.state, device=CPU)
    iterations._several(count)
    same(training.state(), trained_eagerly(count).state())
    assert int(training.step.images_seen) == count * SMALL.batch_size


def test_without_a_gpu_the_same_function_runs_uncaptured() -> None:
    training = Training()
    iterations = CudaGraphRunner(training.iterate, training.state, device=CPU, capture=True)
    assert iterations.unroll == 1, "one at a time: a signal need not wait for eight slow steps"
    assert not iterations.prepare()
    iterations.run(5)
    same(training.state(), trained_eagerly(5).state())


@pytest.mark.parametrize("capture", [True, False])
def test_replays_equal_single_steps(monkeypatch: pytest.MonkeyPatch, capture: bool) -> None:
    """Warm-up and captures change nothing, and counts are split into graphs of eight and of one."""
    training = Training()
    played = PlayedGraphs(training)
    played.install(monkeypatch)
    iterations = CudaGraphRunner(training.iterate, training.state, device=CUDA, capture=capture)
    assert iterations.unroll == (UNROLL if capture else 1)
    for count in (3, 8, 18):
        iterations.run(count)
    expected = trained_eagerly(29)
    same(training.state(), expected.state())
    assert played.replayed == ([1, 1, 1, 8, 8, 8, 1, 1] if capture else [])
    assert iterations.prepare() == capture


def test_a_failed_capture_is_reported_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the original error, not with the one raised by ending the capture."""
    training = Training()
    played = PlayedGraphs(training)
    played.install(monkeypatch)
    played.fails = True
    iterations = CudaGraphRunner(training.iterate, training.state, device=CUDA)
    with pytest.raises(ConfigError) as caught:
        iterations.prepare()
    message = str(caught.value)
    assert "\n" not in message and "--no-capture" in message and "not permitted when stream is capturing" in message
    with pytest.raises(ConfigError):
        iterations.run(3)
    assert played.replayed == []


@pytest.mark.parametrize("changes", [{}, {"amp": True}, {"amp": True, "amp_dtype": "float16"}, {"prior": "uniform"}])
@pytest.mark.parametrize("after", [0, 4])
def test_warm_up_restores_the_state(changes: dict[str, Any], after: int) -> None:
    """Weights, running averages, counters, moments, copies, loss scale: after no step and after some."""
    changes = {"dtype": torch.float32, **changes}
    training = trained_eagerly(after, **changes)
    before = training.copy_of_state()
    CudaGraphRunner(training.iterate, training.state, device=CPU).warm_up()
    now = training.state()
    assert now.keys() >= before.keys()
    for name, value in now.items():
        assert torch.equal(value, before[name]) if name in before else not value.any(), name
    training.iterate()
    same(training.state(), trained_eagerly(after + 1, **changes).state())


def test_warm_up_changes_the_state_before_restoring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above restores something: the state includes all that a step changes."""
    training = Training()
    before = training.copy_of_state()
    iterations = CudaGraphRunner(training.iterate, training.state, device=CPU)
    monkeypatch.setattr(iterations, "_restore", lambda before: None)
    iterations.warm_up()
    moved = {
        name for name, value in training.state().items() if name in before and not torch.equal(value, before[name])
    }
    still = set(before) - moved - {"guard.found_nonfinite", "guard.skipped"}  # which only bad steps change
    assert {"images_seen", "loss_sum", "prior.logits"} <= moved
    assert all(".num_batches_tracked" in name for name in still if name.startswith("average")), still
    assert not {name for name in still if not name.startswith("average")}, still


def test_a_failed_warm_up_restores_the_state() -> None:
    training = Training()
    before = training.copy_of_state()
    calls: list[int] = []

    def fails_later() -> None:
        training.iterate()
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        CudaGraphRunner(fails_later, training.state, device=CPU).warm_up()
    for name, value in training.state().items():
        assert torch.equal(value, before[name]) if name in before else not value.any(), name


@pytest.mark.parametrize("changes", [{}, {"amp": True}])
def test_a_new_learning_rate_reaches_the_next_step(changes: dict[str, Any]) -> None:
    """It is written into a tensor that each replay reads: the tensor itself must not be replaced."""
    training = trained_eagerly(2, dtype=torch.float32, **changes)
    groups = [group for optimizer in training.step.optimizers.by_name.values() for group in optimizer.param_groups]
    held = [group["lr"] for group in groups]
    training.step.optimizers.set_learning_rate(0.0)
    frozen = {name: value.clone() for name, value in training.step.networks.named_parameters()}
    training.iterate()
    assert all(torch.equal(value, frozen[name]) for name, value in training.step.networks.named_parameters())
    training.step.optimizers.set_learning_rate(1e-3)
    training.iterate()
    assert not any(torch.equal(value, frozen[name]) for name, value in training.step.networks.named_parameters())
    for group, lr in zip(groups, held, strict=True):
        assert group["lr"] is lr and float(lr) == pytest.approx(1e-3)
