"""Standard normals and uniforms for plain CPU tensors: the specification's arithmetic on NumPy's stream."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.philox import cpu as philox_cpu
from kernels.philox import reference as philox


def normal(shape: tuple[int, int], *, seed: Tensor, offset: Tensor, row_start: int | Tensor = 0) -> Tensor:
    """See kernels.normal. For tensors that are `plain_cpu`."""
    rows, columns = shape
    even = columns + columns % 2
    u = philox_cpu.uniforms(seed, offset, rows, even, row_start=row_start, stream=philox.STREAM_NORMAL)
    # Box-Muller as in `philox.to_normal`, in place.
    radius, angle = u[..., 0::2].log().mul_(-2.0).sqrt_(), u[..., 1::2] * (2.0 * torch.pi)
    torch.mul(radius, angle.cos(), out=u[..., 0::2])
    torch.mul(radius, angle.sin_(), out=u[..., 1::2])
    return u[..., :columns]


def uniform(shape: tuple[int, int], *, seed: Tensor, offset: Tensor, row_start: int | Tensor = 0) -> Tensor:
    """See kernels.uniform. For tensors that are `plain_cpu`."""
    return philox_cpu.uniforms(seed, offset, *shape, row_start=row_start, stream=philox.STREAM_GUMBEL)
