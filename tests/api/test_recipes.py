"""The recipes of docs/python.md run as they are, on tiny networks."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from small_models import SMALL

from fastgan import ElasticInfoGAN

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
RECIPES = re.findall(
    r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8").partition("## Recipes")[2].partition("\n## ")[0], re.S
)


@pytest.mark.slow
def test_every_recipe_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    pixels = (load_digits().images * (255 / 16)).astype(np.uint8)
    small = functools.partial(ElasticInfoGAN, epochs=1, batch_size=32, **SMALL)
    names: dict[str, Any] = {"images": pixels[:96], "others": pixels[96:160], "ElasticInfoGAN": small}
    names["model"] = small(n_classes=6, random_state=0).fit(names["images"])
    assert len(RECIPES) == 7
    for recipe in RECIPES[:-1]:
        exec(compile(recipe, str(PAGE), "exec"), names)
    assert names["doubtful"].shape == (20, 8, 8) and -1 <= names["agreement"] <= 1
    assert "4 runs compared" in (tmp_path / "runs" / "k4-seed0" / "compare.html").read_text(encoding="utf-8")
    assert np.array_equal(names["labels"], names["model"].predict(names["others"]))
    assert names["nearest"].shape == (1, 5)
    assert len(names["drawn"]) == len(names["codes"]) == 48 and names["model"].n_iter_ == 1
    exec(compile(RECIPES[-1], str(PAGE), "exec"), names)
    assert names["model"].n_iter_ == 2
