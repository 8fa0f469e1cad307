"""The curves of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastgan.reporting import plots

ROWS = [{"images_seen": 100 * i, "confidence": 0.2 * i, "effective_classes": 3.0} for i in (1, 2, 3)]


def legend_of_evaluations(rows: list[dict[str, Any]], path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the curves in the lower panel of losses.png."""
    figures: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    plots.plot_losses(rows, path)
    names = [line.get_label() for line in figures[0].axes[1].lines]
    plots.plt.close(figures[0])
    return names


def test_without_labels_the_confidence_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert legend_of_evaluations(ROWS, tmp_path, monkeypatch) == ["Q's mean confidence"]
    labelled = [{**row, "nmi": 0.5} for row in ROWS]
    assert legend_of_evaluations(labelled, tmp_path, monkeypatch) == ["NMI"]
    assert legend_of_evaluations([], tmp_path, monkeypatch) == []
