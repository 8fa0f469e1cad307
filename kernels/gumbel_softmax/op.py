"""The public op: checks its arguments, then calls the chosen backend."""

from __future__ import annotations

from torch import Tensor

from kernels.backend import backend, plain_cpu, runs_kernel
from kernels.checks import (
    check_counters,
    check_float,
    check_row_start,
    check_temperature,
    check_temperature_tensor,
    is_learned,
)
from kernels.gumbel_softmax import cpu, reference


def gumbel_softmax(
    logits: Tensor,
    *,
    temperature: float | Tensor,
    seed: Tensor,
    offset: Tensor,
    batch_size: int | None = None,
    row_start: int | Tensor = 0,
    hard: bool = False,
) -> tuple[Tensor, Tensor]:
    """Sample nearly one-hot class codes, differentiable with respect to the logits of their probabilities.

    sample = softmax((log softmax(logits) + Gumbel noise) / temperature)   (arXiv 1910.01112, section 3.2)

    Args:
        logits: [..., K], unnormalised, float32, bfloat16, float16 or float64. With `batch_size` one prior (or a
            stack [E, K]) is shared by `batch_size` rows; without it each row has its own logits.
        temperature: above 0. A tensor, of one number or broadcasting to one a row ([..., B, 1]), may require a
            gradient; its values are not checked (a bad one gives NaN).
        seed, offset: int64 tensors on the logits' device, scalars or of the shape of the leading dimensions, rows
            excluded. The noise is a pure function of (seed, offset, row, class).
        row_start: number of the first row in the stream, 0 or more, so that ranks can draw parts of one large batch;
            an integer, or a tensor of one on the logits' device.
        hard: straight-through: the sample is exactly one-hot, its gradient that of the soft sample.

    Returns:
        sample: [..., B, K] (or [..., K] without `batch_size`), the logits' dtype; rows sum to 1.
        code: int64 [..., B] (or [...]), argmax of the perturbed logits, the lowest index on ties; no gradient.

    Leading dimensions that share one seed and offset share their noise: for L latents of B images reshape [B, L, K] to
    [B * L, K]. A draw keeps seed and offset for its backward pass: add to an offset in place only after that.

    A logit of -inf means probability 0. Where the probability is 0 so is the gradient, whatever comes from upstream.
    NaN, +inf or all -inf give NaN.

    The kernel takes one temperature without a gradient and up to 65,535 priors, and is not used inside torch.func's
    transforms: the specification, which is much slower, serves the rest.

    Raises:
        ValueError: naming the argument that cannot be used.
    """
    _check(logits, temperature, seed, offset, batch_size, row_start)
    if isinstance(temperature, Tensor) and temperature.numel() == 1:
        temperature = temperature.reshape(())
    if isinstance(row_start, Tensor):
        row_start = row_start.reshape(())
    priors = (logits.shape[:-2] if batch_size is None else logits.shape[:-1]).numel()
    one_a_row = isinstance(temperature, Tensor) and temperature.dim() > 0
    if runs_kernel(logits, priors) and not one_a_row and not is_learned(temperature):
        return _triton(logits, temperature, seed, offset, batch_size, row_start, hard)
    plain = plain_cpu(logits, seed, offset, row_start, temperature)
    version = cpu if plain and backend() != "reference" else reference
    return version.gumbel_softmax(
        logits,
        temperature=temperature,
        seed=seed,
        offset=offset,
        batch_size=batch_size,
        row_start=row_start,
        hard=hard,
    )


def _check(
    logits: Tensor,
    temperature: float | Tensor,
    seed: Tensor,
    offset: Tensor,
    batch_size: int | None,
    row_start: int | Tensor,
) -> None:
    """ValueError naming the argument that cannot be used."""
    check_float("logits", logits)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits {list(logits.shape)}: must be [..., K] with K at least 1")
    check_temperature(temperature)
    check_counters(seed, offset, logits.device)
    check_row_start(row_start, logits.device)
    if batch_size is not None and (isinstance(batch_size, float) or batch_size < 1):
        raise ValueError(f"batch_size {batch_size}: must be an integer, at least 1")
    leading = logits.shape[:-1] if batch_size is not None else logits.shape[:-2]
    for name, value in (("seed", seed), ("offset", offset)):
        if value.dim() and value.shape != leading:
            raise ValueError(f"{name} {list(value.shape)}: must be a scalar or {list(leading)}")
    if isinstance(temperature, Tensor):
        rows = logits.shape[:-1] if batch_size is None else (*leading, batch_size)
        check_temperature_tensor(temperature, tuple(rows), logits.device)


def _triton(
    logits: Tensor,
    temperature: float | Tensor,
    seed: Tensor,
    offset: Tensor,
    batch_size: int | None,
    row_start: int | Tensor,
    hard: bool,
) -> tuple[Tensor, Tensor]:
    """Reshape the arguments to the kernel's [E, 1 or B, K], and its results back."""
    from kernels.gumbel_softmax import launch

    K = logits.shape[-1]
    if batch_size is not None:
        rows, leading = batch_size, logits.shape[:-1]
        logits_EBK = logits.reshape(leading.numel(), 1, K)
    else:
        rows, leading = (logits.shape[-2] if logits.dim() > 1 else 1), logits.shape[:-2]
        logits_EBK = logits.reshape(leading.numel(), rows, K)  # not -1, which no rows would leave open
    tensors = [value if isinstance(value, Tensor) else None for value in (temperature, row_start)]
    sample, code = launch.gumbel_softmax(
        logits_EBK,
        seed.reshape(-1),
        offset.reshape(-1),
        0.0 if tensors[0] is not None else float(temperature),
        tensors[0],
        0 if tensors[1] is not None else int(row_start),
        tensors[1],
        rows,
        hard,
    )
    if batch_size is None and logits.dim() == 1:
        return sample.reshape(K), code.reshape(())
    return sample.reshape(*leading, rows, K), code.reshape(*leading, rows)
