"""--compile: it never stops a run, and it changes no result."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from advance import advance
from tolerances import close

from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data import digits, loading
from fastgan.models.networks import Networks, Shape
from fastgan.models.prior import ClassPrior
from fastgan.step import compile
from fastgan.step.step import Step
from fastgan.training.engine import Engine

CONFIG = TrainConfig(image_size=16, batch_size=16, network=NetworkConfig(width=4, hidden=32, embedding=8))


@pytest.fixture(autouse=True)
def _unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "_warned", False)


def _no_compiler(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
    """torch.compile on a machine without a compiler: the first call of the result fails."""

    def call(*args: Any) -> Any:
        raise torch._dynamo.exc.BackendCompilerFailed(function, RuntimeError("no C++ compiler found"), None)

    return call


def test_without_a_compiler_it_warns_once_and_runs_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", _no_compiler)
    first, second = compile.Compiled(lambda x: x + 1), compile.Compiled(lambda x: x * 2)
    with pytest.warns(RuntimeWarning, match="goes on eagerly") as caught:
        assert first(1) == 2
        assert second(3) == 6
        assert first(2) == 3
    assert len(caught) == 1


def test_errors_of_the_function_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)

    def fails(x: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), warnings.catch_warnings():
        warnings.simplefilter("error")
        compile.Compiled(fails)(1)


def test_one_message_of_the_compilers_log_is_silenced(caplog: pytest.LogCaptureFixture) -> None:
    """The warning of a CUDA toolkit without a GPU; all other messages, of this and other loggers, are kept."""
    compile.Compiled(lambda x: x)
    log = logging.getLogger("torch.utils.cpp_extension")
    message = "No CUDA runtime is found, using CUDA_HOME='%s'"
    with caplog.at_level(logging.WARNING):
        for name in (log.name, "torch.utils"):
            logging.getLogger(name).addHandler(caplog.handler)
        try:
            log.warning(message, "/usr/local/cuda")
            log.warning("something else")
            logging.getLogger("torch.utils").warning(message, "elsewhere")
        finally:
            for name in (log.name, "torch.utils"):
                logging.getLogger(name).removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"something else", message % "elsewhere"}


class _FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        raise AssertionError("expected size 64==64, stride 196==1 at dim=1\nand more")


@pytest.mark.parametrize("failing", ["_of_d", "_generator"], ids=["D's", "G's"])
@pytest.mark.parametrize("changes", [{}, {"amp": True}, {"amp": True, "amp_dtype": "float16"}], ids=str)
def test_an_error_of_a_compiled_backward_pass_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, failing: str, changes: dict[str, Any]
) -> None:
    """It is raised in the middle of the first step: the run goes on eagerly, as if nothing had been compiled."""
    config = dataclasses.replace(CONFIG, augment="torchvision", **changes)
    images = loading.load(config)
    plain, compiled_one = (Engine(config, images, torch.device("cpu")) for _ in range(2))
    fails = getattr(compiled_one.step, failing)

    def compile(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            result = function(*args)
            if function != fails:
                return result
            return (
                (_FailsBackward.apply(result[0]), *result[1:])
                if isinstance(result, tuple)
                else _FailsBackward.apply(result)
            )

        return call

    monkeypatch.setattr(torch, "compile", compile)
    compiled_one.step.compile()
    compiled_one.prefetch(0, config.batch_size)
    with pytest.warns(
        RuntimeWarning, match=r"AssertionError: expected size .* dim=1\); training goes on eagerly"
    ) as caught:
        compiled_one.iterations.warm_up()
    assert len(caught) == 1
    for trainer in (plain, compiled_one):
        trainer.prefetch(0, 3 * config.batch_size)
        trainer.iterations.run(3)
    theirs = plain._state()
    for name, value in compiled_one._state().items():
        assert torch.equal(value, theirs[name]), name


def test_an_error_of_the_step_itself_ends_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if parts are compiled, and the eager step fails too."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *args: function(*args))
    trainer = Engine(CONFIG, loading.load(CONFIG), torch.device("cpu"))
    monkeypatch.setattr(trainer.step, "_finish", lambda *_: 1 / 0)
    trainer.prefetch(0, CONFIG.batch_size)
    with pytest.raises(ZeroDivisionError):
        trainer.iterations.warm_up()
    trainer.step.compile()
    with pytest.warns(RuntimeWarning, match="goes on eagerly"), pytest.raises(ZeroDivisionError):
        trainer.iterations.warm_up()


def _step(compile: bool) -> Step:
    config = CONFIG
    built = Networks(Shape(16, 1, 10, config.network)).initialise(0)
    step = Step(built, ClassPrior("learned", 10), config, torch.device("cpu"))
    if compile:
        step.compile()
    return step


def _batches(count: int) -> list[torch.Tensor]:
    images = digits.full(16).images
    order = loading.epoch_order(CONFIG, len(images), 0)
    return [images[index] for index in order.split(16)[:count]]


@pytest.mark.slow
def test_compiled_equals_eager() -> None:
    """As on a GPU: the same draws, and losses that differ only by rounding."""
    eager, fast = _step(False), _step(True)
    for images in _batches(3):
        ours, theirs = (step._noise(len(images), step.images_seen) for step in (fast, eager))
        torch.testing.assert_close(ours, theirs, **close(torch.float32))
        torch.testing.assert_close(advance(fast, images), advance(eager, images), **close(torch.float32, 100))


def test_on_a_cpu_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take half a minute and make no step faster."""
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    config = dataclasses.replace(CONFIG, compile=True, augment="torchvision")
    trainer = Engine(config, loading.load(config), torch.device("cpu"))
    trainer.prepare(0)
    assert trainer.step.compiled == [] and int(trainer.step.images_seen) == 0
