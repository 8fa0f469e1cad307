"""Exported programs as ONNX files, where the packages that write them are installed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.export import ExportedProgram

PACKAGES = ("onnx", "onnxscript")
INSTALL = f"pip install {' '.join(PACKAGES)}"
# Names of outputs; those of inputs are the program's.
OUTPUTS = {"generator": ["images"], "labeller": ["probabilities", "embedding"]}


def available() -> bool:
    """Whether ONNX files can be written here."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def write(programs: Mapping[str, ExportedProgram], folder: Path) -> list[str]:
    """Write NAME.onnx for each program; returns the files' names, none where the packages are missing."""
    if not available():
        return []
    for name, program in programs.items():
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of torch's own exporter, about torch's own code
            found = torch.onnx.export(program, dynamo=True, verbose=False, output_names=OUTPUTS[name])
        assert found is not None
        found.save(folder / f"{name}.onnx")
    return [f"{name}.onnx" for name in programs]
