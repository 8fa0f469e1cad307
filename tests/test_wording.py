"""Numbers in sentences: of one thing nobody speaks as of many."""

from __future__ import annotations

import pytest

from fastgan.text import pluralize


@pytest.mark.parametrize(("number", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1200, "1,200 files")])
def test_one_and_many(number: int, said: str) -> None:
    assert pluralize(number, "file") == said


def test_a_plural_of_its_own() -> None:
    assert [pluralize(number, "person", "people") for number in (1, 3)] == ["1 person", "3 people"]
