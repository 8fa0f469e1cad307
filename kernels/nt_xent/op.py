"""The public ops: check their arguments, then call the chosen backend."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from kernels.backend import backend, plain_cpu, runs_kernel
from kernels.checks import check_float, check_row_start, check_temperature, check_temperature_tensor, is_learned
from kernels.nt_xent import cpu, reference

Precision = Literal["bf16", "tf32", "ieee"]
PRECISIONS = ("bf16", "tf32", "ieee")
MAX_LENGTH = 512  # longest embedding that the Triton kernels take
HOTTEST = 2.0**100  # temperature


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: must be one of {', '.join(PRECISIONS)}")


def _one_temperature(temperature: float | Tensor, x: Tensor) -> float | Tensor:
    """The temperature; ValueError unless it is one number, or a tensor of one on the device of x, which is not read."""
    check_temperature(temperature)
    if not isinstance(temperature, Tensor):
        return temperature
    check_temperature_tensor(temperature, (), x.device)
    return temperature.reshape(())


def _runs_kernel(x: Tensor, temperature: float | Tensor) -> bool:
    """Whether the Triton kernels take [N, D] or [E, N, D]: not long embeddings, nor a temperature with a gradient."""
    stack = x.shape[0] if x.dim() == 3 else 1
    return runs_kernel(x, stack) and x.shape[-1] <= MAX_LENGTH and not is_learned(temperature)


def _split(temperature: float | Tensor) -> tuple[float, Tensor | None]:
    """The temperature as the launchers take it: a number, and a tensor that overrides it."""
    if isinstance(temperature, Tensor):
        return 0.0, temperature
    # All similarities weigh the same long before; 1 / temperature would be 0 in float32, and its product with -inf NaN.
    return min(float(temperature), HOTTEST), None


def nt_xent(
    view_a: Tensor,
    view_b: Tensor,
    *,
    temperature: float | Tensor,
    precision: Precision = "tf32",
) -> Tensor:
    """Mean NT-Xent loss over the 2N anchors of two views (arXiv 2002.05709, eq. 1).

    Each anchor's positive is the other view of its image; its negatives are the 2(N - 1) embeddings of other images.

    Args:
        view_a, view_b: raw embeddings [N, D], or [E, N, D] for E losses at once; normalised inside (eps 1e-8).
        temperature: above 0; a tensor is not checked (a bad one gives NaN).
        precision: the lowest precision allowed in the matrix products; sums are float32 (float64 for float64 views).

    Returns:
        The loss, scalar or [E], float32 (float64 for float64 views); gradients flow to both views.

    N = 1 has no negatives: loss 0 and gradient 0. A zero embedding has similarity 0 to all and gradient 0.
    NaN or inf in an embedding gives NaN. The Triton kernels store no similarities: their memory is O(N D). Embeddings
    longer than 512, a temperature that needs a gradient, torch.func's transforms, forward-mode differentiation, second
    derivatives and stacks of more than 65,535 run the reference, whose memory is O(N^2).

    Raises:
        ValueError: naming the argument that cannot be used.
    """
    check_float("view_a", view_a)
    if view_a.shape != view_b.shape or view_a.dtype != view_b.dtype or view_a.device != view_b.device:
        raise ValueError(
            "view_a, view_b: must agree in shape, dtype and device, got "
            f"{list(view_a.shape)} {view_a.dtype} {view_a.device} and "
            f"{list(view_b.shape)} {view_b.dtype} {view_b.device}"
        )
    if view_a.dim() not in (2, 3) or 0 in view_a.shape:
        raise ValueError(f"view_a, view_b {list(view_a.shape)}: must be [N, D] or [E, N, D], no dimension 0")
    temperature = _one_temperature(temperature, view_a)
    _check_precision(precision)
    if _runs_kernel(view_a, temperature):
        from kernels.nt_xent import launch

        if view_a.dim() == 3:
            return launch.nt_xent(view_a, view_b, *_split(temperature), precision)
        losses_E = launch.nt_xent(view_a[None], view_b[None], *_split(temperature), precision)
        return losses_E.reshape(())  # an index would take two launches backward
    version = cpu if plain_cpu(view_a, view_b, temperature) and backend() != "reference" else reference
    return version.nt_xent(view_a, view_b, temperature=temperature, precision=precision)


def _check_parts(local: Tensor, gathered: Tensor, row_start: int) -> None:
    check_float("local", local)
    for name, value in (("local", local), ("gathered", gathered)):
        if value.dim() != 3 or value.shape[0] != 2 or 0 in value.shape:
            raise ValueError(f"{name} {list(value.shape)}: must be [2, rows, D], the two views stacked")
    if local.shape[2] != gathered.shape[2] or local.dtype != gathered.dtype or local.device != gathered.device:
        raise ValueError("local, gathered: must agree in D, dtype and device")
    check_row_start(row_start)
    if row_start + local.shape[1] > gathered.shape[1]:
        raise ValueError(f"row_start {row_start}: {local.shape[1]} rows from there do not fit into {gathered.shape[1]}")


def nt_xent_lse(
    local: Tensor,
    gathered: Tensor,
    row_start: int,
    *,
    temperature: float | Tensor,
    precision: Precision = "tf32",
) -> tuple[Tensor, Tensor]:
    """One rank's part of the NT-Xent forward pass.

    Args:
        local: this rank's raw embeddings [2, n, D], its two views stacked.
        gathered: all ranks' [2, N, D]; local[v, i] is gathered[v, row_start + i].
        temperature, precision: as in `nt_xent`, and the same in `nt_xent_grad`.

    Returns:
        lse [2, n], the log-sum-exp of each local anchor, and loss [2, n]; no gradient flows.

    Raises:
        ValueError: naming the argument that cannot be used.
    """
    _check_parts(local, gathered, row_start)
    temperature = _one_temperature(temperature, local)
    _check_precision(precision)
    if _runs_kernel(local, temperature):
        from kernels.nt_xent import launch

        given = _split(temperature)
        return launch.nt_xent_lse(local.detach(), gathered.detach(), row_start, *given, precision)
    return reference.nt_xent_lse(local.detach(), gathered.detach(), row_start, temperature=temperature)


def nt_xent_grad(
    local: Tensor,
    gathered: Tensor,
    gathered_lse: Tensor,
    row_start: int,
    *,
    temperature: float | Tensor,
    precision: Precision = "tf32",
) -> Tensor:
    """The gradient [2, n, D] of the mean loss over all 2N anchors with respect to this rank's raw embeddings.

    gathered_lse: [2, N], all ranks' results of `nt_xent_lse`. The backward pass then needs no collective.

    Raises:
        ValueError: naming the argument that cannot be used.
    """
    _check_parts(local, gathered, row_start)
    temperature = _one_temperature(temperature, local)
    if gathered_lse.shape != gathered.shape[:2]:
        raise ValueError(f"gathered_lse {list(gathered_lse.shape)}: must be {list(gathered.shape[:2])}")
    _check_precision(precision)
    if _runs_kernel(local, temperature):
        from kernels.nt_xent import launch

        lse, given = gathered_lse.detach(), _split(temperature)
        return launch.nt_xent_grad(local.detach(), gathered.detach(), lse, row_start, *given, precision)
    return reference.nt_xent_grad(
        local.detach(), gathered.detach(), gathered_lse.detach(), row_start, temperature=temperature
    )
