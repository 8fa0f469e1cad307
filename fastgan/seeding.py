"""Seeds: one stream of random numbers for each purpose, derived from a run's seed."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def stream_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose (`"noise"`, `"transform"`, `"order"`, ...), so that streams are independent."""
    digest = hashlib.sha256(f"fastgan:{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def shuffled(count: int, seed: int, purpose: str) -> Tensor:
    """A permutation of range(count), int64, that depends only on (count, seed, purpose).

    It sorts the raw output of PCG64, which NumPy promises never to change, so that all versions agree.
    """
    raw = np.random.PCG64(stream_seed(seed, purpose)).random_raw(count)
    return torch.from_numpy(np.argsort(raw, kind="stable"))
