"""Singular and plural in messages."""

from __future__ import annotations

import pytest

from fastgan.text import pluralize


@pytest.mark.parametrize(("number", "expected"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1200, "1,200 files")])
def test_pluralize(number: int, expected: str) -> None:
    assert pluralize(number, "file") == expected


def test_irregular_plural() -> None:
    assert [pluralize(number, "person", "people") for number in (1, 3)] == ["1 person", "3 people"]
