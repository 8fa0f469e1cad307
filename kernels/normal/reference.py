"""Standard normals and uniforms, the specification: words of the stream, normals by Box-Muller."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.philox import reference as philox


def normal(shape: tuple[int, int], *, seed: Tensor, offset: Tensor, row_start: int | Tensor = 0) -> Tensor:
    """See kernels.normal."""
    rows, columns = shape
    even = columns + columns % 2  # Box-Muller needs whole pairs; the last normal of an odd row is dropped
    word = philox.words(seed, offset, rows, even, row_start=row_start, stream=philox.STREAM_NORMAL)
    return philox.to_normal(word, torch.float32)[..., :columns]


def uniform(shape: tuple[int, int], *, seed: Tensor, offset: Tensor, row_start: int | Tensor = 0) -> Tensor:
    """See kernels.uniform."""
    return philox.to_uniform(philox.words(seed, offset, *shape, row_start=row_start, stream=philox.STREAM_GUMBEL))
