"""The captured step and its feed where only a CUDA GPU can show them; run with `pytest tests -m gpu`."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from fastgan.augment.dali import DaliTransform, DaliUnavailableError
from fastgan.augment.factory import Transform, make_transform
from fastgan.augment.tensor import TensorTransform
from fastgan.config.presets import preset
from fastgan.config.schema import GroupingConfig, TransformConfig
from fastgan.data import loading
from fastgan.inference import labelling
from fastgan.step.losses import LOSSES
from fastgan.training.cuda_graphs import UNROLL
from fastgan.training.engine import Engine, build_step
from fastgan.training.loader import DeviceLoader
from fastgan.training.pseudo_labels import find_groups
from kernels import use_backend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DIGITS = dataclasses.replace(preset("digits"), augment="torchvision")


@pytest.fixture(autouse=True)
def _same_sums() -> Iterator[None]:
    """Deterministic convolutions, the same in every loop."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


class Training(Engine):
    """A trainer on a GPU whose iterations run in graphs or not, and the losses of each run of steps."""

    def __init__(self, *, capture: bool, **changes: Any) -> None:
        config = dataclasses.replace(DIGITS, capture=capture, **changes)
        super().__init__(config, loading.load(config), CUDA)
        self.feed.prefetch(0, config.batch_size)
        assert self.iterations.prepare() == capture

    def run(self, count: int) -> Tensor:
        """The mean losses of `count` steps."""
        seen, size = int(self.step.images_seen), self.config.batch_size
        self.loss_sum.zero_()
        most = self.feed.chunk // size
        for first in range(0, count, most):  # no more than the ring holds at once
            steps = min(most, count - first)
            self.feed.prefetch(seen + first * size, seen + (first + steps) * size)
            self.iterations.run(steps)
        assert int(self.step.images_seen) == seen + count * size
        return self.loss_sum.cpu() / count


PAPER = dataclasses.asdict(preset("digits", "paper"))
MODES: dict[str, dict[str, Any]] = {
    "float32": {},
    "the paper's recipe": {
        name: PAPER[name]
        for name in ("contrastive_weight", "contrastive_temperature", "agreement_weight", "finer_codes", "prior_pull")
    }
    | {"grouping": GroupingConfig(), "front_end_learns": False, "real_averages": False, "prior_learning_rate": None},
    "bfloat16": {"amp": True},
    "float16": {"amp": True, "amp_dtype": "float16"},
    "compiled bfloat16": {"amp": True, "compile": True},
    "compiled float32": {"compile": True},
    "no contrastive loss": {"contrastive_weight": 0.0},
    "bfloat16 without losses on real images": {
        "amp": True,
        "contrastive_weight": 0.0,
        "agreement_weight": 0.0,
        "finer_codes": 0,
        "grouping": GroupingConfig(),
    },
}


@pytest.mark.parametrize("mode", MODES)
def test_captured_equals_eager(mode: str) -> None:
    """50 steps, in graphs of eight and of one, against single steps: the losses of every ten."""
    eager, graphs = Training(capture=False, **MODES[mode]), Training(capture=True, **MODES[mode])
    for ten in range(5):
        tolerance = 1e-3 if ten == 0 and mode == "float32" else 0.05
        torch.testing.assert_close(graphs.run(10), eager.run(10), rtol=tolerance, atol=tolerance)


def test_a_grouping_reaches_captured_steps() -> None:
    """Before it the losses of codes and prior are zero, after it they are not, in graphs as in single steps."""
    eager, graphs = Training(capture=False), Training(capture=True)
    for training in (eager, graphs):
        assert training.run(10)[LOSSES.index("grouping_loss")] == 0
        training.feed.regroup(torch.arange(len(training.feed.images)) % 10)
    found = graphs.run(10)
    assert found[LOSSES.index("grouping_loss")] > 1
    torch.testing.assert_close(found, eager.run(10), rtol=0.05, atol=0.05)


def test_the_images_of_a_gpu_are_grouped() -> None:
    """From embeddings on the GPU; despite rounding, most images are grouped as on the CPU."""
    training = Training(capture=True)
    training.run(200)
    training.regroup()
    groups = training.feed.groups.cpu()
    known = groups >= 0
    assert known.double().mean() > 0.8 and len(groups[known].unique()) == 10
    embed, logits = labelling.read(training.step.networks, training.feed.images, training.config, CUDA)
    again = find_groups(embed.cpu(), logits.argmax(1), 10, training.config.grouping, training.config.seed)
    known &= again >= 0
    assert known.double().mean() > 0.8
    assert normalized_mutual_info_score(groups[known].numpy(), again[known].numpy()) > 0.9


def test_captured_equals_eager_without_our_kernels() -> None:
    """torch's own Adam, whose first step creates its state, and the reference versions of the other ops."""
    use_backend("reference")
    eager, graphs = Training(capture=False), Training(capture=True)
    for _ in range(5):
        torch.testing.assert_close(graphs.run(10), eager.run(10), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("mode", ["float32", "compiled bfloat16"])
def test_warm_up_and_capture_leave_no_trace(mode: str) -> None:
    config = dataclasses.replace(DIGITS, **MODES[mode])
    fresh = build_step(config, loading.load(config), CUDA).live_state()
    captured = Training(capture=True, **MODES[mode]).step.live_state()
    for name, value in captured.items():
        if name in fresh:
            assert torch.equal(value, fresh[name]), name
        else:
            assert not value.any(), name


def test_each_replay_reads_new_images_and_noise() -> None:
    """Nothing is learned between replays, so losses differ only by their random draws."""
    training = Training(capture=True)
    training.step.optimizers.set_learning_rate(0.0)
    losses = torch.stack([training.run(1) for _ in range(10)])
    assert len(losses.unique(dim=0)) == 10
    eights = torch.stack([training.run(UNROLL) for _ in range(3)])
    assert len(eights.unique(dim=0)) == 3


def test_each_replay_reads_the_learning_rate() -> None:
    training = Training(capture=True)
    weight = training.step.networks.front_end.blocks[0].weight
    training.step.optimizers.set_learning_rate(0.0)
    before = weight.detach().clone()
    training.run(UNROLL)
    assert torch.equal(weight, before)
    training.step.optimizers.set_learning_rate(2e-4)
    training.run(1)
    moved = (weight - before).abs().max()
    assert 0 < moved < 1e-3
    training.step.optimizers.set_learning_rate(2e-1)
    before = weight.detach().clone()
    training.run(1)
    assert (weight - before).abs().max() > 50 * moved


@pytest.mark.parametrize("mode", ["float32", "bfloat16", "compiled float32"])
def test_memory_is_flat_and_no_replay_waits(mode: str) -> None:
    training = Training(capture=True, **MODES[mode])
    training.iterations.run(4 * UNROLL)
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(50):
            training.iterations.run(UNROLL + 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before


@pytest.mark.parametrize("changes", [{"seed": 5, "split": 3}, {"seed": 5, "prior": "learned"}])
def test_another_run_in_the_same_graphs_equals_one_in_new_graphs(changes: dict[str, Any]) -> None:
    used, fresh = Training(capture=True), Training(capture=True, **changes)
    used.run(20)
    used.restart(fresh.config, loading.load(fresh.config))
    assert used.iterations.prepare()
    for _ in range(3):
        torch.testing.assert_close(used.run(UNROLL), fresh.run(UNROLL), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("flags", [["--amp"], ["--amp", "--compile"], ["--no-capture"]], ids=" ".join)
def test_a_deterministic_run_that_is_resumed_ends_with_the_same_weights(flags: list[str], tmp_path: Path) -> None:
    """In processes of their own, as --deterministic must come before the first product."""

    def train(run: str, *more: str) -> None:
        command = [sys.executable, "-m", "fastgan.train", "--run-dir", str(tmp_path / run), *more]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2], capture_output=True)

    settings = ["--deterministic", "--eval-every", "4", "--save-every", "2", "--grouping.at", "1", *flags]
    settings += ["--final-rate", "1"]  # otherwise learning rates depend on the number of epochs, which is changed here
    for run in ("whole", "other"):
        train(run, *settings, "--epochs", "4")
    train("resumed", *settings, "--epochs", "2")
    train("resumed", "--resume", "--epochs", "4")
    ends = [max((tmp_path / run / "checkpoints").iterdir()) for run in ("whole", "other", "resumed")]
    first, *others = ((end / "model.safetensors").read_bytes() for end in ends)
    assert others == [first, first]


# --- the feed ---


def on_gpu(config: TransformConfig, channels: int, size: int) -> DaliTransform:
    try:
        return DaliTransform(config, torch.tensor(77, device=CUDA), channels=channels, size=size, most=500, device=CUDA)
    except DaliUnavailableError as error:
        pytest.skip(f"DALI: {error}")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize(
    "settings",
    [{}, {"kind": "paper"}, {"flip": 0.5, "brightness": 0.4, "contrast": 0.4, "saturation": 0.5, "hue": 30.0}],
    ids=["default", "paper", "colours"],
)
def test_dali_on_the_gpu_makes_the_same_images(settings: dict[str, Any], size: int, channels: int) -> None:
    config = TransformConfig(**settings)
    grey = loading.load(dataclasses.replace(DIGITS, image_size=size)).images
    images = torch.cat([grey[300 * c : 300 * (c + 1)] for c in range(channels)], dim=1).to(CUDA)
    dali = on_gpu(config, channels, size)
    tensor = TensorTransform(dataclasses.replace(config, interpolation="bilinear"), dali.seed, torch.float32)
    for first in (0, 12_345):
        dali.start(images, first)
        tensor.start(images, first)
        assert (dali.finish() - tensor.finish()).abs().mean() <= 0.02


@pytest.mark.parametrize("name, streamed", [("torchvision", False), ("torchvision", True), ("dali", False)])
def test_the_ring_is_right_while_steps_read_it(name: Any, streamed: bool) -> None:
    """Chunks are made while slow kernels still read the ones before: every batch is the one that a CPU's feed gives,
    whether the images lie on the GPU or stream to it."""
    config = dataclasses.replace(DIGITS, augment=name, transform=TransformConfig(interpolation="auto"))
    if name == "dali":
        on_gpu(config.transform, 1, 16)
    images = loading.load(config)

    def make(device: torch.device) -> DeviceLoader:
        transform: Transform = make_transform(config, channels=1, most=256, device=device)
        return DeviceLoader(
            images.images if streamed else images.images.to(device),
            lambda epoch: loading.epoch_order(config, len(images.images), epoch),
            batch_size=64,
            transform=transform,
            chunk=256,
            device=device,
        )

    here, there = make(CPU), make(CUDA)
    clock = torch.zeros((), dtype=torch.int64, device=CUDA)
    taken = []
    for batch in range(60):
        there.prefetch(batch * 64, (batch + 1) * 64)
        torch.cuda._sleep(2_000_000)  # the reader lags behind the host
        taken.append(there.batch_at(clock))
        clock += 64
    for batch, (real, other, _) in enumerate(taken):
        here.prefetch(batch * 64, (batch + 1) * 64)
        expected_real, expected, _ = here.batch_at(torch.tensor(batch * 64))
        assert torch.equal(real.cpu(), expected_real), batch
        assert other is not None and expected is not None
        assert (other.cpu() - expected).abs().mean() < 1e-3, batch
