"""--deterministic: only on a GPU, and without effect on the next run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from fastgan.config.train_command import FREE_ON_RESUME, train_config
from fastgan.runs.run_folder import saved_config
from fastgan.runtime.device import choose_algorithms


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    choose_algorithms(False, torch.device("cpu"))


@pytest.mark.parametrize(("requested", "device", "expected"), [(True, "cuda", True), (True, "cpu", False)])
def test_deterministic_algorithms_only_on_a_gpu(requested: bool, device: str, expected: bool) -> None:
    choose_algorithms(requested, torch.device(device))
    assert torch.are_deterministic_algorithms_enabled() == torch.backends.cudnn.deterministic == expected
    assert torch.is_deterministic_algorithms_warn_only_enabled() == expected
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == expected
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def test_the_next_run_is_not_deterministic() -> None:
    choose_algorithms(True, torch.device("cuda"))
    choose_algorithms(False, torch.device("cuda"))
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic


def test_the_deterministic_flag() -> None:
    assert not train_config([], saved_config).deterministic
    assert train_config(["--deterministic"], saved_config).deterministic
    assert "deterministic" in FREE_ON_RESUME
