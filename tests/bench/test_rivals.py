"""The rivals' functions are called as they are declared."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from torch import Tensor

from bench.speed import bench_kernels


def test_inf_cl_gets_its_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """inf_cl runs on CUDA only, so a module of the same signature stands in for it."""
    scales = []

    def cal_flash_loss(
        q: Tensor, k: Tensor, labels: Tensor | None = None, scale: Tensor | None = None, head_dim: int = 256
    ) -> Tensor:
        assert labels is None and scale is not None
        scales.append(float(scale))
        return (q * k).sum(-1)

    module = ModuleType("inf_cl")
    module.__spec__ = ModuleSpec("inf_cl", None)
    module.cal_flash_loss = cal_flash_loss  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "inf_cl", module)
    monkeypatch.setattr(bench_kernels, "CUDA", True)
    monkeypatch.setattr(bench_kernels, "DEVICE", torch.device("cpu"))
    bench_kernels.nt_xent_candidates(4, [])["inf_cl (another loss)"]()
    assert scales == [2.0, 2.0]
