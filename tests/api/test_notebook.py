"""examples/digits.ipynb: its cells run in order, with small networks in place of its parameters, and it is stripped."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SMALL = 'EPOCHS = 2\nNETWORK = {"width": 4, "hidden": 16, "embedding": 8}\nRUN = "runs/digits-notebook"\n'


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    notebook = json.loads((ROOT / "examples" / "digits.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and notebook["nbformat_minor"] >= 5
    found: list[dict[str, Any]] = notebook["cells"]
    return found


def test_the_notebook_is_stripped_and_its_cells_are_named(cells: list[dict[str, Any]]) -> None:
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


def test_the_parameters_of_the_test_are_the_notebooks(cells: list[dict[str, Any]]) -> None:
    (parameters,) = (cell for cell in cells if "parameters" in cell["metadata"].get("tags", ()))

    def names(code: str) -> list[str]:
        return [ast.unparse(line.targets[0]) for line in ast.parse(code).body if isinstance(line, ast.Assign)]

    assert names("".join(parameters["source"])) == names(SMALL)


def test_the_notebook_runs(cells: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")
    found: dict[str, Any] = {}
    try:
        for cell in cells:
            code = SMALL if "parameters" in cell["metadata"].get("tags", ()) else "".join(cell["source"])
            if cell["cell_type"] == "code":
                exec(compile(code, f"cell {cell['id']}", "exec"), found)
        assert len(found["plt"].get_fignums()) == 3
    finally:
        found["plt"].close("all")
        matplotlib.use(backend)
    assert found["model"].n_iter_ == 2 and list(found["effective"]) == [2] and found["more"].shape == (16, 16, 16)
    assert found["table"].sum() == 1797 and np.isclose(found["probabilities"].sum(), 5, atol=1e-4)
    assert (tmp_path / "runs" / "digits-model" / "config.json").exists()
