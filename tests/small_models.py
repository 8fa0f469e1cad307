"""Parameters with which an estimator is trained in a second, for tests that add their own."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "threads": 1,
    "device": "cpu",
    "network": {"width": 4, "hidden": 16, "embedding": 8},
    "grouping": {"at": ()},
    "verbose": False,
}
