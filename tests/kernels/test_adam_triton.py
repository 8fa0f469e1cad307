"""What only Adam's kernel has: tiles, programs among which they are divided, a semaphore.

test_adam.py runs each of its tests on the kernel as well.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from tolerances import close
from torch import Tensor

from kernels.adam import reference
from kernels.backend import interpreted

if not interpreted():
    pytest.skip("Triton's interpreter is off: a GPU runs test_gpu.py instead", allow_module_level=True)

from kernels.adam import launch

PAD = 64
BETAS, EPS = (0.5, 0.999), 1e-8
LAST = ("large", "average", "share")  # for the last elements only


def hyperparameters(betas: tuple[float, float] = BETAS, eps: float = EPS) -> Tensor:
    return torch.tensor([*betas, eps, *(math.log(b) for b in betas)], dtype=torch.float64)


def guarded(values: Tensor) -> tuple[Tensor, Tensor]:
    """A buffer whose pads hold NaN, and the part of it that holds `values`."""
    buffer = torch.full((len(values) + 2 * PAD,), torch.nan, dtype=values.dtype)
    inside = buffer[PAD : PAD + len(values)]
    inside.copy_(values)
    return buffer, inside


def problem(n: int, low: torch.dtype | None, taken: int) -> dict[str, Tensor | None]:
    """The tensors of one step, with `taken` steps behind it."""
    generator = torch.Generator().manual_seed(n)
    master, m, v, grad = torch.randn(4, n, generator=generator)
    return {
        "master": master,
        "exp_avg": m,
        "exp_avg_sq": v.square(),
        "step": torch.tensor(float(taken)),
        "shadow": None if low is None else torch.zeros(n, dtype=low),
        "grad": grad.to(low or torch.float32),
        "lr": torch.tensor(1e-2),
    }


def run(tensors: dict[str, Any], flags: dict[str, Tensor | None]) -> Tensor:
    """The op on `tensors`, in place; returns the semaphore."""
    semaphore = torch.zeros((), dtype=torch.int32)
    order = [tensors[name] for name in ("master", "exp_avg", "exp_avg_sq", "step")]
    rest = [tensors[name] for name in ("shadow", "grad", "lr")]
    more = [flags.get("grad_scale"), flags.get("found_inf"), *(tensors.get(name) for name in LAST)]
    launch.adam_step(*order, semaphore, *rest, hyperparameters(), *more)
    return semaphore


# One element, around a power of two, one tile that is part empty, and more tiles than there are programs.
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 1000, 5000, 70000])
@pytest.mark.parametrize("low", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("taken", [0, 999])
def test_one_step_equals_the_specification(n: int, low: torch.dtype | None, taken: int) -> None:
    """In float64. Memory beside the buffers is unchanged; the step count grows by 1 for any number of programs."""
    tensors = problem(n, low, taken)
    buffers = {}
    for name in ("master", "exp_avg", "exp_avg_sq", "shadow", "grad"):
        if (values := tensors[name]) is not None:
            buffers[name], tensors[name] = guarded(values)
    wide: dict[str, Any] = {name: None if x is None else x.double() for name, x in tensors.items()}
    flags: dict[str, Tensor | None] = {"grad_scale": torch.tensor(8.0)}
    reference.adam_step(**wide, betas=BETAS, eps=EPS, **flags)

    assert run(tensors, flags) == 0
    for name in ("master", "exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(tensors[name].double(), wide[name], **close(torch.float32, 0.02))  # type: ignore[union-attr]
    assert tensors["step"] == taken + 1
    if low is not None:
        # Triton's interpreter truncates to bfloat16 where a GPU rounds.
        exact = {"rtol": 2.0**-7 if low == torch.bfloat16 else 0.0, "atol": 0.0}
        torch.testing.assert_close(tensors["shadow"], tensors["master"].to(low), **exact)  # type: ignore[union-attr]
    for name, buffer in buffers.items():
        assert buffer[:PAD].isnan().all() and buffer[-PAD:].isnan().all(), name


# From the start of a tile on, for all elements or some; either part longer, or without the other.
@pytest.mark.parametrize("n", [5000, 70000])
@pytest.mark.parametrize("large, averaged", [(0, 0), (1, 2), (3, 1), (None, 0), (0, None), (4, 4)])
@pytest.mark.parametrize("low", [None, torch.float16])
def test_other_buffers_of_the_last_elements(
    n: int, large: int | None, averaged: int | None, low: torch.dtype | None
) -> None:
    """Gradients in another buffer, and averages, each from some tile on; memory beside them is unchanged."""
    tensors = problem(n, low, 3)
    buffers = {}
    if large is not None:
        assert tensors["grad"] is not None
        last = tensors["grad"][large * launch.BLOCK :]
        buffers["large"], tensors["large"] = guarded(last)
        last.fill_(torch.nan)
    if averaged is not None:
        buffers["average"], tensors["average"] = guarded(torch.randn(n - averaged * launch.BLOCK))
        tensors["share"] = torch.tensor([0.25])
    wide: dict[str, Any] = {name: None if x is None else x.double() for name, x in tensors.items()}
    reference.adam_step(**wide, betas=BETAS, eps=EPS)
    assert run(tensors, {}) == 0
    for name in ("master", "exp_avg", "exp_avg_sq", "average"):
        if (found := tensors.get(name)) is not None:
            torch.testing.assert_close(found.double(), wide[name], **close(torch.float32, 0.02))
    for name, buffer in buffers.items():
        assert buffer[:PAD].isnan().all() and buffer[-PAD:].isnan().all(), name


def test_other_buffers_begin_with_a_tile() -> None:
    for name in ("large", "average"):
        tensors = problem(5000, None, 0) | {name: torch.zeros(4999), "share": torch.tensor(0.5)}
        with pytest.raises(ValueError, match="inside a tile"):
            run(tensors, {})


@pytest.mark.parametrize("flag", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("n", [5, 5000])
def test_the_flag_skips_everything(n: int, flag: float) -> None:
    tensors = problem(n, torch.float16, 4) | {"average": torch.zeros(n), "share": torch.tensor(0.5)}
    before = {name: x.clone() for name, x in tensors.items() if x is not None}
    assert run(tensors, {"found_inf": torch.tensor(flag)}) == 0
    for name in ("master", "exp_avg", "exp_avg_sq", "step", "shadow", "average"):
        assert torch.equal(tensors[name], before[name]) == (flag > 0), name  # type: ignore[arg-type]


def test_results_do_not_depend_on_the_number_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 program and 69 give the same bits, and each adds to the semaphore."""
    results = []
    for programs in (1, 2, 7, 69, 1000):
        monkeypatch.setattr(launch, "_num_sms", lambda device, programs=programs: programs)
        monkeypatch.setattr(launch, "PROGRAMS_PER_SM", 1)
        tensors = problem(70_000, torch.float16, 2) | {"average": torch.zeros(70_000 - 3 * launch.BLOCK)}
        tensors |= {"share": torch.tensor(0.5), "large": torch.ones(70_000 - 5 * launch.BLOCK).half()}
        for taken in (3, 4):
            assert run(tensors, {}) == 0
            assert tensors["step"] == taken
        results.append(tensors)
    for other in results[1:]:
        for name in ("master", "exp_avg", "exp_avg_sq", "shadow", "average"):
            assert torch.equal(other[name], results[0][name]), name  # type: ignore[arg-type]


@pytest.mark.parametrize("taken", [0, 1, 100, 10**6])
@pytest.mark.parametrize("beta", [0.5, 0.999, 0.9999999])
def test_bias_corrections_keep_their_digits(taken: int, beta: float) -> None:
    """Without a second moment and with eps 1, the step is lr m / (1 - beta1^t), to float32's digits."""
    master, m, v = torch.zeros(1), torch.ones(1), torch.zeros(1)
    step, grad, semaphore = torch.tensor(float(taken)), torch.zeros(1), torch.zeros((), dtype=torch.int32)
    lr = torch.tensor(1.0)
    launch.adam_step(master, m, v, step, semaphore, None, grad, lr, hyperparameters((beta, 0.5), 1.0), *5 * [None])
    expected = -beta / -math.expm1((taken + 1) * math.log(beta))
    assert master.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("low", [None, torch.bfloat16])
@pytest.mark.parametrize("flagged", [False, True])
@pytest.mark.parametrize("more", [False, True])
def test_opcheck_passes(low: torch.dtype | None, flagged: bool, more: bool) -> None:
    tensors = problem(1100, low, 0)
    order = [tensors[name] for name in ("master", "exp_avg", "exp_avg_sq", "step")]
    rest = [tensors[name] for name in ("shadow", "grad", "lr")]
    flags = [torch.tensor(2.0), torch.tensor(0.0)] if flagged else [None, None]
    last = [torch.randn(76).to(low), torch.randn(76), torch.tensor(0.5)] if more else 3 * [None]
    arguments = (*order, torch.zeros((), dtype=torch.int32), *rest, hyperparameters(), *flags, *last)
    torch.library.opcheck(launch.adam_step, arguments)


COMPILE = """
import re
import triton
from triton.backends.compiler import GPUTarget
from kernels.adam.launch import configurations

for capability in (80, 90):
    for name, kernel, signature, constexprs, options in configurations(capability):
        if name not in ("adam-fp32", "adam-fp32-averaged", "adam-bf16-averaged-scaled-flagged"):
            continue
        whole = {**signature, **{key: "constexpr" for key in constexprs}}
        names = kernel.arg_names
        hints = {(names.index(k),): [["tt.divisibility", 16]] for k, t in signature.items() if t[0] == "*"}
        source = triton.compiler.ASTSource(fn=kernel, signature=whole, constexprs=constexprs, attrs=hints)
        ptx = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["ptx"]
        print(name, *sorted(set(re.findall(r"(?:ld|st)[.]global[.]v[.\\w]*|(?:ld|st)[.]global[.]b16", ptx))))
"""


def test_compiles_to_vector_accesses() -> None:
    """Without a GPU: 16 bytes of float32, 8 of 16-bit values, never a single value."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wide = "ld.global.v4.b32 st.global.v4.b32"
    both = "ld.global.v2.b32 ld.global.v4.b32 st.global.v2.b32 st.global.v4.b32"
    lines = sorted(done.stdout.splitlines())
    names = [f"adam-fp32 {wide}", f"adam-fp32-averaged {wide}", f"adam-bf16-averaged-scaled-flagged {both}"]
    assert lines == sorted(2 * names)
