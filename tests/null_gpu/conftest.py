"""The null GPU, for the tests of this folder."""

from __future__ import annotations

import pytest

from null_gpu.build import built, missing


@pytest.fixture(scope="session", autouse=True)
def _null_gpu() -> None:
    """Built, or every test here is skipped with a word."""
    if absent := missing():
        pytest.skip(f"the null GPU cannot be built: {absent}")
    built()
