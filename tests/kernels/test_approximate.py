"""The kernels under the largest errors of a GPU's approximate instructions, simulated in the interpreter.

The bounds are PTX's: log2 2^-22 between 1/2 and 2, however near 0 it is there, and relative elsewhere; exp2 and
quotients 2^-22, roots 2^-23, all relative. Each error is at its bound, all above, all below, or as a bit of the
argument has it. What a kernel asks to have rounded (div_rn, sqrt_rn) and float64 stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tolerances import close
from torch import Tensor

from kernels import gumbel_softmax, normal, nt_xent, use_backend
from kernels.backend import interpreted
from kernels.philox import cpu as philox_cpu
from kernels.philox import reference as philox

if not interpreted():
    pytest.skip("Triton's interpreter is off: a GPU has errors of its own", allow_module_level=True)

from test_adam_triton import BETAS, EPS, problem, run
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from kernels.adam import reference as adam
from kernels.nt_xent import launch

SIDES: dict[str, Callable[[np.ndarray], Any]] = {
    "above": lambda _: 1.0,
    "below": lambda _: -1.0,
    "either": lambda x: 1.0 - 2.0 * (x.view(np.uint32) >> 3 & 1),
}


def erring(exact: Callable[..., np.ndarray], error: Callable[[np.ndarray], np.ndarray], side: Any) -> Any:
    """A function of the interpreter's builder that is wrong by `error` of its exact value."""

    def create(_: InterpreterBuilder, *operands: TensorHandle) -> TensorHandle:
        arrays = [operand.data for operand in operands]
        single = arrays[0].dtype == np.float32
        with np.errstate(all="ignore"):  # a GPU divides by 0 in silence
            value = exact(*(x.astype(np.float64) for x in arrays))
            wrong = value + side(np.ascontiguousarray(arrays[-1])) * error(value) if single else value
            wrong = np.where(np.isfinite(value), wrong, value).astype(arrays[0].dtype)
        return TensorHandle(wrong, operands[0].dtype.scalar)

    return create


@pytest.fixture(autouse=True, params=list(SIDES))
def _worst(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    side = SIDES[request.param]

    def relative(bound: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda value: bound * np.abs(value)

    for name, exact, error in (
        ("create_log2", np.log2, lambda value: 2.0**-22 * np.maximum(np.abs(value), 1.0)),
        ("create_log", np.log, lambda value: 2.0**-22 * np.maximum(np.abs(value), np.log(2.0))),  # from log2
        ("create_exp2", np.exp2, relative(2.0**-22)),
        ("create_fdiv", np.divide, relative(2.0**-22)),
        ("create_sqrt", np.sqrt, relative(2.0**-23)),
    ):
        monkeypatch.setattr(InterpreterBuilder, name, erring(exact, error, side))
    with use_backend("triton"):
        yield


def counters() -> dict[str, Tensor]:
    return {"seed": torch.tensor(5), "offset": torch.tensor(3)}


FAR = 2_717_469  # a row of four normals that has the largest uniform there is


def exact_normals(row: int, rows: int, columns: int) -> Tensor:
    """The specification's, in float64."""
    word = philox.words(**counters(), rows=rows, columns=columns, row_start=row, stream=philox.STREAM_NORMAL)
    return philox.to_normal(word, torch.float64)


def test_normals() -> None:
    found = normal((300, 64), **counters())
    torch.testing.assert_close(found.double(), exact_normals(0, 300, 64), **close(torch.float32))


def test_normals_near_zero() -> None:
    """A logarithm near 0 has the absolute error of log2 near 1: above 0 its square root would be NaN."""
    rows = 1 << 20
    word = philox_cpu.words(**counters(), rows=rows, columns=4, stream=philox.STREAM_NORMAL)
    largest = word[:, [0, 2]].amax(1).topk(20).indices.tolist()
    far = philox.words(**counters(), rows=1, columns=4, row_start=FAR, stream=philox.STREAM_NORMAL)
    assert philox.to_uniform(far)[0, 2] == philox.LARGEST
    for row in (FAR, *largest):
        found = normal((1, 4), row_start=row, **counters())
        assert found.isfinite().all()
        torch.testing.assert_close(found.double(), exact_normals(row, 1, 4), **close(torch.float32))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("classes", [10, 5000])
def test_gumbel_softmax(classes: int, temperature: float) -> None:
    """Both logarithms of the noise, and the exponentials and the quotient of the softmax."""
    rows = 200 if classes == 10 else 3
    found, expected = [], []
    for results, backend, dtype in ((found, "triton", torch.float32), (expected, "reference", torch.float64)):
        logits = torch.linspace(-2, 2, classes).to(dtype).requires_grad_()
        upstream = torch.randn(rows, classes, generator=torch.Generator().manual_seed(1)).to(dtype)
        with use_backend(backend):
            sample, _ = gumbel_softmax(logits, temperature=temperature, batch_size=rows, **counters())
            sample.backward(upstream)
        results += [sample.detach().double(), logits.grad.double()]
    torch.testing.assert_close(found[0], expected[0], **close(torch.float32, 1 / temperature))
    size = expected[1].abs().max()
    torch.testing.assert_close(found[1] / size, expected[1] / size, **close(torch.float32, 5 / temperature))


@pytest.mark.parametrize("path", ["small", "large"])
@pytest.mark.parametrize("temperature", [0.07, 0.5])  # a running maximum, and a fixed shift
@pytest.mark.parametrize("noise", [1.0, 1e-3])  # of trained embeddings the loss, and what is left of a positive, vanish
def test_nt_xent(path: str, temperature: float, noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == "large":
        monkeypatch.setattr(launch, "SMALL_TILES", set())
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 40, 16, generator=generator)
    b = a + noise * b
    found, expected = [], []
    for results, backend, dtype in ((found, "triton", torch.float32), (expected, "reference", torch.float64)):
        views = [view.detach().to(dtype, copy=True).requires_grad_() for view in (a, b)]
        options: dict[str, Any] = {"precision": "ieee"} if backend == "triton" else {}
        with use_backend(backend):
            loss = nt_xent(*views, temperature=temperature, **options)
        loss.backward()
        results += [loss.detach().double(), *(view.grad.double() for view in views)]
    torch.testing.assert_close(found[0], expected[0], **close(torch.float32, 1 / temperature))
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(ours, theirs, **close(torch.float32, 1 / temperature / len(a)))


def test_adam() -> None:
    tensors = problem(1000, None, 3)
    wide: dict[str, Any] = {name: None if x is None else x.double() for name, x in tensors.items()}
    adam.adam_step(**wide, betas=BETAS, eps=EPS)
    run(tensors, {})
    assert tensors["master"] is not None
    torch.testing.assert_close(tensors["master"].double(), wide["master"], **close(torch.float32))
