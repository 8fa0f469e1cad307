"""Output buffers that reveal elements a kernel did not write, and writes outside the buffer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

PAD = 64
POISON = {torch.int64: -(2**62), torch.int32: -(2**30)}


class GuardedAllocator:
    """Replaces torch.empty: buffers are filled with NaN (or a huge negative number) and lie between pads."""

    def __init__(self, patch: pytest.MonkeyPatch, module: Any) -> None:
        self.buffers: list[Tensor] = []
        self._empty = torch.empty
        patch.setattr(module.torch, "empty", self)

    def __call__(self, *size: Any, dtype: torch.dtype = torch.float32, **options: Any) -> Tensor:
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        count = 1
        for side in shape:
            count *= side
        buffer = self._empty(count + 2 * PAD, dtype=dtype, **options).fill_(POISON.get(dtype, float("nan")))
        self.buffers.append(buffer)
        return buffer[PAD : PAD + count].view(shape)

    def check(self) -> None:
        """Every pad is unchanged; at least one buffer was allocated."""
        assert self.buffers
        for buffer in self.buffers:
            for pad in (buffer[:PAD], buffer[-PAD:]):
                assert (pad.isnan() if pad.is_floating_point() else pad == POISON[pad.dtype]).all()
