"""The study of the suggested K: its sets, and its table from readings made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_choice_of_k import reading

from bench.studies import known_kinds, suggest_k
from bench.studies.known_kinds import KINDS


@pytest.mark.parametrize("name", ["digits", "forty"])
def test_a_set_has_the_images_and_kinds_that_it_states(name: str) -> None:
    images, labels = KINDS[name].make()
    assert images.dtype == np.uint8 and len(images) == len(labels) == KINDS[name].images
    assert len(np.unique(labels)) == KINDS[name].count in KINDS[name].tried
    assert np.array_equal(images, KINDS[name].make()[0]), "the same each time"


def test_a_set_of_mnist(mnist_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGAN_DATA", str(mnist_dir.parent))
    images, labels = KINDS["two"].make()
    assert images.shape == (1400, 16, 16) and np.bincount(labels)[[2, 7]].tolist() == [1000, 400]


def test_no_two_characters_are_one(tmp_path: Path) -> None:
    assert len(set(known_kinds.CHARACTERS)) == len(known_kinds.CHARACTERS) == 40
    path = known_kinds.write("forty", tmp_path)
    before = path.stat().st_mtime_ns
    assert known_kinds.write("forty", tmp_path).stat().st_mtime_ns == before, "made once"
    with np.load(path) as found:
        assert list(found) == ["images"], "a run sees no kinds"


def test_the_table_counts_what_is_right_and_what_was_not_run() -> None:
    kind_N = torch.from_numpy(KINDS["digits"].make()[1])
    by_k = {5: kind_N // 2, 8: kind_N.clamp(max=7), 10: kind_N, 14: kind_N, 20: kind_N}
    runs = [reading(codes_N, k, 0, views=0.99 if k <= 10 else 0.5) for k, codes_N in by_k.items()]
    rows = {"digits": suggest_k.row("digits", {0: runs, 1: runs[:2]})}
    assert set(rows["digits"]["suggested"]) == {"seed 0"}, "the other seed is not finished"
    assert rows["digits"]["suggested"]["seed 0"]["classes"] == 10 and rows["digits"]["ari"][10] == pytest.approx(1)
    text = suggest_k.table(rows)
    assert "| **10** | not run | not run |" in text
    assert "- seed 0: right on 1 of 1 sets, wrong on 0, none suggested on 0" in text
    assert "- both: right on 0 of 0 sets" in text
    assert "| digits | 10 | – | 0.990 | 10 | 0.50 |" in suggest_k.levels_table(rows)
