"""From the first non-finite step on, nothing is updated; the error names the step and the loss."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from advance import advance
from torch import Tensor, nn

from fastgan import train
from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import digits
from fastgan.errors import DivergenceError
from fastgan.models.elastic_infogan import ElasticInfoGAN
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.step import losses, nonfinite
from fastgan.step.step import Step
from fastgan.training import outlook

CONFIG = TrainConfig(image_size=16, batch_size=16, average_decay=0.9, network=NetworkConfig(width=4, hidden=16))
BAD = 3  # the step that is poisoned
VALUES = [math.nan, math.inf, -math.inf]
Poison = Callable[[pytest.MonkeyPatch, str, float], None]


def make_step(**changes: Any) -> Step:
    config = dataclasses.replace(CONFIG, **changes)
    networks = Networks(Shape(16, 1, 10, config.network, config.finer_codes)).initialise(0)
    return Step(networks, ClassPrior("learned", 10, None), config, torch.device("cpu"))


def poison(monkeypatch: pytest.MonkeyPatch, name: str, value: float, at: int = BAD) -> None:
    """The loss of `name` is `value` in its call number `at`, counted from 1."""
    real, calls = getattr(losses, name), []

    def poisoned(*arguments: Any) -> Tensor:
        calls.append(1)
        found: Tensor = real(*arguments)
        return found + value if len(calls) == at else found

    monkeypatch.setattr(losses, name, poisoned)


def images() -> list[Tensor]:
    return list(digits.full(16).images[:128].split(16))


def state(step: Step) -> dict[str, Tensor]:
    """A copy of all that an update changes; the clock is left out, since it always advances."""
    clock = ("images_seen", "guard", "num_batches_tracked")
    return {name: value.clone() for name, value in step.live_state().items() if not any(word in name for word in clock)}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in after if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("settings", [{}, {"amp": True}, {"amp": True, "amp_dtype": "float16"}], ids=str)
def test_a_bad_discriminator_loss_freezes_everything(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], value: float
) -> None:
    poison(monkeypatch, "discriminator_loss", value)
    step = make_step(**settings)
    for number, batch in enumerate(images(), 1):
        if number == BAD:
            before = state(step)
            assert step.guard.first_bad() is None
        advance(step, batch)
    assert not {name for name in changed(before, state(step)) if not name.startswith("scaler")}
    assert step.guard.first_bad() == (BAD - 1) * 16
    assert not nonfinite.not_finite(step.model.state_dict())


@pytest.mark.parametrize("name", ["generator_loss", "information_loss", "contrastive_loss"])
def test_a_bad_loss_in_the_generator_step_keeps_the_discriminators_update(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    poison(monkeypatch, name, math.nan)
    step = make_step()
    for number, batch in enumerate(images(), 1):
        if number == BAD:
            before = state(step)
        advance(step, batch)
        if number == BAD:
            moved = changed(before, state(step))
            frozen = state(step)
    assert moved
    assert all("front_end" in key or "discriminator" in key for key in moved), moved
    assert not any("running" in key for key in moved)
    assert not changed(frozen, state(step))  # later, good steps are left out too
    assert step.guard.first_bad() == (BAD - 1) * 16


class _Burst(torch.autograd.Function):
    """The identity, whose gradient is infinite."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * math.inf


@pytest.mark.parametrize(
    "place", ["front_end.linear.1", "generator.linear.4", "code_head.embedding.1", "discriminator", "generator.image"]
)
def test_a_bad_gradient_is_found_without_a_bad_loss(place: str) -> None:
    """Every loss is finite, but a gradient in the backward pass is not."""
    step = make_step()
    step(images()[0], None)
    before = state(step)

    def burst(module: nn.Module, arguments: Any, found: Tensor) -> Tensor:
        return _Burst.apply(found)

    hook = step.networks.get_submodule(place).register_forward_hook(burst)
    found = advance(step, images()[1])
    hook.remove()
    assert found.isfinite().all()
    assert step.guard.first_bad() == 16
    if place.startswith("front_end"):
        assert not changed(before, state(step))
    assert not nonfinite.not_finite(step.live_state())


def test_the_guard_does_not_change_good_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    with_guard, without = make_step(), make_step()
    for name in ("begin", "check", "end"):
        monkeypatch.setattr(without.guard, name, lambda *arguments: None)
    for batch in images()[:4]:
        advance(with_guard, batch)
        advance(without, batch)
    assert not changed(state(with_guard), state(without))
    assert with_guard.guard.first_bad() is None and int(with_guard.guard.good_images) == 64


def test_running_statistics_are_views_that_the_networks_use() -> None:
    step = make_step()
    before = {name: value.clone() for name, value in step.networks.named_buffers()}
    advance(step, images()[0])
    moved = {name for name, value in step.networks.named_buffers() if not torch.equal(value, before[name])}
    assert moved == set(before)
    step.guard._averages.fill_(5.0)
    assert all((value == 5.0).all() for name, value in step.networks.named_buffers() if "running" in name)


def test_float16_counts_skipped_steps_and_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    step = make_step(amp=True, amp_dtype="float16")
    step.optimizers.scaler.load_state_dict({**step.optimizers.scaler.state_dict(), "scale": 2.0**60})
    before = {name: value.clone() for name, value in step.networks.named_parameters()}
    for batch in images()[:3]:
        advance(step, batch)
    assert step.guard.skips() == (3, 3) and step.guard.first_bad() is None
    assert not changed(before, dict(step.networks.named_parameters()))
    step.optimizers.scaler.load_state_dict({**step.optimizers.scaler.state_dict(), "scale": 2.0**8})
    advance(step, images()[3])
    assert step.guard.skips() == (3, 0)
    saved = step.training_state()
    other = make_step(amp=True, amp_dtype="float16")
    other.load_state(step.model.state_dict(), saved)
    assert other.guard.skips() == (3, 0) and int(other.guard.good_images) == 64

    step.guard.skipped.fill_(nonfinite.MOST_SKIPPED - 1)
    nonfinite.check(step.guard, {}, batch_size=16, remedy="mend")
    step.guard.skipped.fill_(nonfinite.MOST_SKIPPED)
    with pytest.raises(DivergenceError, match="the last 20 steps overflowed in float16; leave --amp-dtype out"):
        nonfinite.check(step.guard, {}, batch_size=16, remedy="mend")


def test_check_names_the_step_and_the_loss() -> None:
    watch = make_step().guard
    nonfinite.check(watch, {"d_loss": 1.0}, batch_size=16, remedy="mend")
    watch.reset(48)
    watch.check(torch.tensor(math.nan), [])
    watch.end(16)
    with pytest.raises(DivergenceError, match=r"step 4 \(after image 48\): d_loss is nan; mend"):
        nonfinite.check(watch, {"d_loss": math.nan, "g_loss": 1.0}, batch_size=16, remedy="mend")
    with pytest.raises(DivergenceError, match="a gradient is not finite; mend"):
        nonfinite.check(watch, {"d_loss": 1.0}, batch_size=16, remedy="mend")


def arguments(run: Path) -> list[str]:
    flags = "--dataset digits --epochs 3 --batch-size 64 --image-size 16 --network.width 4 --network.hidden 16"
    return [*flags.split(), "--grouping.at", "--save-every", "1", "--eval-every", "3", "--run-dir", str(run)]


def test_a_run_that_diverges_ends_with_one_line_and_its_last_good_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(losses, "information_loss", losses.information_loss)
    monkeypatch.setattr(outlook, "_rates", lambda trainer: (0.0, 1.0))  # a look ahead would count as steps
    poison(monkeypatch, "information_loss", math.nan, at=25)  # 18 steps an epoch
    with pytest.raises(DivergenceError, match=r"step 25 \(after image 1,536\): information_loss is nan; .*--resume"):
        train.main(arguments(run))
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"{18 * 64:012d}"]
    assert train.main(["--resume", "--run-dir", str(run)]) == 0
    capsys.readouterr()


def test_a_weight_that_is_not_finite_is_never_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def spoilt(self: ElasticInfoGAN) -> dict[str, Tensor]:
        return {"networks.generator.image.bias": torch.tensor([1.0, math.inf])}

    monkeypatch.setattr(ElasticInfoGAN, "state_dict", spoilt)
    with pytest.raises(DivergenceError, match=r"networks.generator.image.bias is not finite before image 1,152"):
        train.main(arguments(run))
    assert not list((run / "checkpoints").iterdir())
