"""Every case of the table, tried a few times; `make faults` tries them at length."""

from __future__ import annotations

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("asks for fork, signals and /proc", allow_module_level=True)

from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import train_config
from faults import children, resuming
from faults.table import CASES, Case, tried


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    result = tried(case, long=False)
    assert not result.lost, result.lost[0]
    assert result.tried or "not built" in result.note


@pytest.mark.parametrize("change", resuming.CHANGES, ids=lambda change: change[0])
def test_every_changed_setting_is_another_than_the_tiny_runs(change: tuple[str, ...]) -> None:
    """Else the run would rightly go on, and count as lost."""

    def config(*flags: str) -> TrainConfig:
        return train_config([*children.TINY, *flags], lambda _: pytest.fail("nothing is resumed"))

    for flag in change[0].split("--")[1:]:
        assert config(*f"--{flag}".split()) != config()
