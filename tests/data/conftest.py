"""Package `datasets` for the tests of --dataset hf: the one that is installed, and a stand-in everywhere."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import hf_stand_in
import pytest

from fastgan.data import hugging_face

INSTALLED = importlib.util.find_spec("datasets") is not None


@pytest.fixture(params=["stand-in", "installed"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Package `datasets`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    if request.param == "installed":
        if not INSTALLED:
            pytest.skip("package datasets is not installed")
        import datasets

        datasets.disable_progress_bars()
        return datasets
    monkeypatch.setitem(sys.modules, "datasets", hf_stand_in)
    return hf_stand_in


@pytest.fixture
def sides_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sides to which images are decoded from here on."""
    sides: list[int] = []
    decode = hugging_face.decode
    monkeypatch.setattr(hugging_face, "decode", lambda file, form: sides.append(form.image_size) or decode(file, form))
    return sides
