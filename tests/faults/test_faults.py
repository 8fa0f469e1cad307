"""Every case of the table, tried a few times; `make faults` tries them at length."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("asks for fork, signals and /proc", allow_module_level=True)

from faults.table import CASES, Case, tried


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    result = tried(case, long=False)
    assert not result.lost, result.lost[0]
    assert result.tried or "not built" in result.note
