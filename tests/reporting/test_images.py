"""Grids of images, and the label beside each row."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.reporting.images import PADDING, row_labels, save_grid


def pixels(file: io.BytesIO | Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_a_label_names_the_code_and_its_probability() -> None:
    assert row_labels([2, 0], [0.5, 0.25, 0.1234]) == ["2: 12.3%", "0: 50.0%"]
    assert row_labels([1234], [0.001] * 1235) == ["1,234: 0.1%"]


@pytest.mark.parametrize(("rows", "side", "channels"), [(2, 8, 1), (10, 28, 1), (40, 64, 3), (100, 8, 3)])
def test_each_row_has_its_label_and_the_images_stay_as_they_are(
    rows: int, side: int, channels: int, tmp_path: Path
) -> None:
    images_NCHW = torch.rand(10 * rows, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = row_labels(range(rows), [1 / rows] * rows)
    plain, labelled = io.BytesIO(), tmp_path / "grid.png"
    save_grid(images_NCHW, plain, 10)
    save_grid(images_NCHW, labelled, 10, labels)
    without, found = pixels(plain), pixels(labelled)
    added = found.shape[1] - without.shape[1]
    assert (found[:, added:] == without).all()
    size = side * (2 if side < 32 else 1) + PADDING
    ground = found[0, 0]
    for row in range(rows):
        own = found[row * size + 1 : (row + 1) * size + 1, :added]
        written = np.abs(own - ground).sum(-1) > 0
        assert written.any(), f"row {row} has a label"
        assert own.max() > 200  # white on grey
        places = np.flatnonzero(written.any(1))
        assert places[0] >= 1 and places[-1] <= size - 2  # within its row
        assert abs((places[0] + places[-1] + 1) / 2 - size / 2) <= 3
    assert (found[:, 0] == ground).all()  # no label is cut
