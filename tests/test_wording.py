"""Numbers in sentences: singular and plural."""

from __future__ import annotations

import pytest

from fastgan.text import pluralize


@pytest.mark.parametrize(("number", "message"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1200, "1,200 files")])
def test_one_and_many(number: int, message: str) -> None:
    assert pluralize(number, "file") == message


def test_an_irregular_plural() -> None:
    assert [pluralize(number, "person", "people") for number in (1, 3)] == ["1 person", "3 people"]
