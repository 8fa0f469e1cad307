"""The training step on the null GPU: what it captures, and what a device would have refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from null_gpu.child import told

# Settings, and the nodes that one captured iteration may have at MNIST's size: as many as when this was last changed.
# Each costs a device about two microseconds whatever it computes, so a change that needs more has to say so here.
BUDGETS: dict[str, tuple[dict[str, Any], int]] = {
    "bfloat16": ({"amp": True}, 523),
    "the paper's recipe, bfloat16": ({"recipe": "paper", "amp": True}, 337),
    "float32": ({}, 461),
    "float16": ({"amp": True, "amp_dtype": "float16"}, 559),
}


@pytest.fixture(scope="module")
def looked() -> dict[str, dict[str, Any]]:
    """What the null GPU saw of each setting, all of them in one process."""
    settings = [setting for setting, _ in BUDGETS.values()]
    return dict(zip(BUDGETS, told("-m", "null_gpu.step", json.dumps(settings)), strict=True))


@pytest.mark.parametrize("name", BUDGETS)
def test_a_captured_step_is_legal_and_within_its_budget(name: str, looked: dict[str, dict[str, Any]]) -> None:
    """No call that a capture forbids, nothing launched beside it, and no wait while its graphs are replayed and fed."""
    seen, (_, budget) = looked[name], BUDGETS[name]
    assert seen["problems"] == {} and seen["waits"] == {} and seen["warnings"] == []
    assert 0 < seen["nodes"] <= budget
