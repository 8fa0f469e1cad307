"""This process's rank, as set by torchrun.

This module imports only the standard library.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RankInfo:
    """The rank of this process among `world_size`, and its local rank among `local_world_size` on this machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @staticmethod
    def from_environment() -> RankInfo:
        """From torchrun's environment variables; a single rank without them."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        values = [os.environ.get(name) for name in names]
        if values[0] is None or values[1] is None:
            return RankInfo()
        rank, world_size = int(values[0]), int(values[1])
        return RankInfo(rank, world_size, int(values[2] or rank), int(values[3] or world_size))

    def device(self, device: torch.device) -> torch.device:
        """This rank's GPU, which becomes the current one; other devices are returned unchanged."""
        import torch

        if device.type == "cuda":
            own = torch.device("cuda", self.local_rank % torch.cuda.device_count())
            torch.cuda.set_device(own)
            return own
        return device
