"""What the tests of the estimator share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastgan.reporting.run_reporter import RunReporter


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Charts take ten times as long as the small runs of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunReporter, "_draw", lambda *_: None)
        patch.setattr(RunReporter, "write_page", lambda *_: None)
        yield
