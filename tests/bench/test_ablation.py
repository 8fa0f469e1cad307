"""The study of what each part of the recipe is worth: its flags, its table and its chart."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bench.studies import ablation
from bench.studies.runs import mnist_flags
from fastgan.config.train_command import train_config
from fastgan.runs.run_folder import saved_config

ROWS = {
    name: {split: dict.fromkeys(ablation.FIGURES, value + split / 1000) for split in (4, 5)}
    for name, value in ((ablation.WHOLE, 0.9), ("groups", 0.5), ("finer head", 0.7))
}


@pytest.mark.parametrize("name", ablation.VARIANTS)
def test_each_variant_is_a_run_of_its_own(name: str) -> None:
    """Its flags exist, and change the settings of the whole recipe."""
    flags = mnist_flags(4, 5, 0)
    whole, variant = (train_config([*flags, *more], saved_config) for more in ((), ablation.VARIANTS[name]))
    assert (variant == whole) == (name == ablation.WHOLE)


def test_the_table_has_a_line_a_variant_and_split() -> None:
    _, *lines = ablation.table(ROWS)
    assert [line.split()[-1] for line in lines] == ["0.9040", "0.9050", "0.5040", "0.5050", "0.7040", "0.7050"]


def test_the_chart_is_drawn(tmp_path: Path) -> None:
    ablation.chart(ROWS, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 20  # both colours of the splits, with their edges
