"""The training step on the null GPU: what it captures, and what a device would have refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from null_gpu.child import told

# Settings, and the nodes that one captured iteration may have at MNIST's size: as many as when this was last changed.
# Each costs a device some time whatever it computes, so a change that needs more of them has to say so here.
BUDGETS: dict[str, tuple[dict[str, Any], int]] = {
    "bfloat16": ({"amp": True}, 489),
    "the paper's recipe, bfloat16": ({"recipe": "paper", "amp": True}, 301),
    "float32": ({}, 399),
    "float16": ({"amp": True, "amp_dtype": "float16"}, 501),
}
COMPILED: dict[str, tuple[dict[str, Any], int]] = {
    "bfloat16": ({"amp": True}, 200),
    "the paper's recipe, bfloat16": ({"recipe": "paper", "amp": True}, 138),
    "float32": ({}, 174),
    "the paper's recipe, float32": ({"recipe": "paper"}, 114),
}
LARGE = {"image_size": 64, "channels": 3, "amp": True}
# What torch advises wherever a compiled product is of float32; that they stay so is a setting's meaning (precision.py).
ADVICE = "TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled"


@pytest.fixture(scope="module")
def looked() -> dict[str, dict[str, Any]]:
    """What the null GPU saw of each setting, all of them in one process."""
    settings = [setting for setting, _ in BUDGETS.values()]
    return dict(zip(BUDGETS, told("-m", "null_gpu.step", json.dumps(settings)), strict=True))


def legal(seen: dict[str, Any]) -> bool:
    """No call that a capture forbids, nothing launched beside it, no wait while its graphs are replayed and fed.

    Nor a compiled function that was cut in pieces, or compiled again, which is a warning.
    """
    said = [warning for warning in seen["warnings"] if not warning.startswith(ADVICE)]
    return (seen["problems"], seen["waits"], seen["graph_breaks"], said) == ({}, {}, {}, [])


@pytest.mark.parametrize("name", BUDGETS)
def test_a_captured_step_is_legal_and_within_its_budget(name: str, looked: dict[str, dict[str, Any]]) -> None:
    seen, (_, budget) = looked[name], BUDGETS[name]
    assert legal(seen), seen
    assert 0 < seen["nodes"] <= budget


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_step_is_legal_and_within_its_budget(name: str) -> None:
    """And nothing that the compiler makes raises, in which case all would go on eagerly, with a warning."""
    setting, budget = COMPILED[name]
    (seen,) = told("-m", "null_gpu.step", json.dumps([setting | {"compile": True}]), timeout=600)
    assert legal(seen), seen
    assert 0 < seen["nodes"] <= budget


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"compile": True}], ids=["eager", "compiled"])
def test_a_step_on_large_images_in_colour_is_legal(changes: dict[str, Any]) -> None:
    (seen,) = told("-m", "null_gpu.step", json.dumps([LARGE | changes]), timeout=600)
    assert legal(seen) and seen["nodes"] > 0, seen
