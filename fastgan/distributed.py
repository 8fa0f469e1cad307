"""This process among its ranks, as torchrun tells it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ranks:
    """Which of `count` processes this is, and which of `local_count` on this machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @staticmethod
    def from_environment() -> Ranks:
        """What torchrun has set; one rank without it."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        values = [os.environ.get(name) for name in names]
        if values[0] is None or values[1] is None:
            return Ranks()
        rank, count = int(values[0]), int(values[1])
        return Ranks(rank, count, int(values[2] or rank), int(values[3] or count))

    def device(self, device: torch.device) -> torch.device:
        """This rank's own of the machine's GPUs; of a CPU's threads, its share."""
        if device.type == "cuda":
            own = torch.device("cuda", self.local_rank % torch.cuda.device_count())
            torch.cuda.set_device(own)
            return own
        if self.local_count > 1:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // self.local_count))
        return device
