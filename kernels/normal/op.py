"""The public ops: check their arguments, then call the chosen backend."""

from __future__ import annotations

from torch import Tensor

from kernels.backend import backend, plain_cpu, runs_kernel
from kernels.checks import check_counters, check_row_start
from kernels.normal import cpu, reference


def _check(shape: tuple[int, int], seed: Tensor, offset: Tensor, row_start: int | Tensor) -> None:
    if len(shape) != 2 or shape[0] < 1 or shape[1] < 1:
        raise ValueError(f"shape {tuple(shape)}: must be (rows, columns), each at least 1")
    check_counters(seed, offset)
    if seed.dim() and offset.dim() and seed.shape != offset.shape:
        raise ValueError(f"seed {list(seed.shape)}, offset {list(offset.shape)}: must be scalars or of one shape")
    check_row_start(row_start, seed.device)


def _triton(shape: tuple[int, int], seed: Tensor, offset: Tensor, row_start: int | Tensor, *, normal: bool) -> Tensor:
    """Reshape the arguments to the kernel's [E], and its result back."""
    from kernels.normal import launch

    leading = seed.shape or offset.shape
    tensor = row_start if isinstance(row_start, Tensor) else None
    first = 0 if tensor is not None else int(row_start)
    out = launch.draw(seed.reshape(-1), offset.reshape(-1), first, tensor, leading.numel(), *shape, normal)
    return out.reshape(*leading, *shape)


def _draw(shape: tuple[int, int], seed: Tensor, offset: Tensor, row_start: int | Tensor, *, normal: bool) -> Tensor:
    """Normals or uniforms, by the chosen backend."""
    _check(shape, seed, offset, row_start)
    if isinstance(row_start, Tensor):
        row_start = row_start.reshape(())
    if runs_kernel(seed, max(seed.numel(), offset.numel())):
        return _triton(shape, seed, offset, row_start, normal=normal)
    version = reference if backend() == "reference" or not plain_cpu(seed, offset, row_start) else cpu
    draw = version.normal if normal else version.uniform
    return draw(shape, seed=seed, offset=offset, row_start=row_start)


def normal(shape: tuple[int, int], *, seed: Tensor, offset: Tensor, row_start: int | Tensor = 0) -> Tensor:
    """Standard normals [B, Z] (or [E, B, Z] for seeds or offsets [E]), float32, on the seed's device.

    A pure function of (seed, offset, row, column). It may share seed and offset with
    `gumbel_softmax`: the two use different streams, so no random word is used twice.

    Raises:
        ValueError: naming the argument that cannot be used.
    """
    return _draw(shape, seed, offset, row_start, normal=True)


def uniform(shape: tuple[int, int], *, seed: Tensor, offset: Tensor, row_start: int | Tensor = 0) -> Tensor:
    """Uniforms in (0, 1), float32, shaped and addressed as in `normal`.

    It uses the same stream as `gumbel_softmax`: give it another seed.

    Raises:
        ValueError: naming the argument that cannot be used.
    """
    return _draw(shape, seed, offset, row_start, normal=False)
