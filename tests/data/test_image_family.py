"""What becomes of image files of many kinds: each drawn here and held against the committed table."""

from __future__ import annotations

import re

import image_family
import PIL
import pytest

FAMILY = image_family.family()
MEANS = re.compile(r": (\d+) (\d+)$")


def test_the_table_lists_every_file_once() -> None:
    """After adding one: `PYTHONPATH=tests python -m image_family --write`."""
    assert list(image_family.kept()) == list(FAMILY)
    outcomes = [outcome.split(",")[0].split(" (")[0] for outcome in image_family.kept().values()]
    assert outcomes.count("read") > 100 and outcomes.count("not supported") > 30 and outcomes.count("damaged") > 10


@pytest.mark.parametrize("name", FAMILY)
def test_a_file_has_the_outcome_that_the_table_keeps(name: str) -> None:
    """The means within one level: decoders of JPEG round differently."""
    found, kept = image_family.outcome(FAMILY[name]), image_family.kept()[name]
    if int(PIL.__version__.partition(".")[0]) < 13 and found.startswith("not supported"):
        pytest.skip("this Pillow reads fewer kinds than the one that made the table")
    assert MEANS.sub("", found) == MEANS.sub("", kept)
    for ours, theirs in zip(MEANS.findall(found), MEANS.findall(kept), strict=True):
        assert all(abs(int(one) - int(other)) <= 1 for one, other in zip(ours, theirs, strict=True))
