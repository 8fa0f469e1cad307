"""page RUN --beside RUN2: another run bears the groups out or not, and the report says so."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from report_pages import check, state
from test_report_groups import sure_of

from fastgan import page
from fastgan.config import command_line
from fastgan.reporting import html_report


@pytest.fixture
def other(trained_run: Path, tmp_path: Path) -> Path:
    """The same run, as if it had another seed."""
    copy = shutil.copytree(trained_run, tmp_path / "other")
    saved = json.loads((copy / "run.json").read_text())
    saved["settings"]["seed"] = 1
    (copy / "run.json").write_text(json.dumps(saved))
    return copy


def test_the_command_reads_the_other_run(
    trained_run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    flags = [str(trained_run), "--device", "cpu", "--out", str(out), "--beside", str(other)]
    assert command_line.run_command(page.main, flags) == 0
    assert "adjusted Rand index with the groups of another run is 1.00" in check(out.read_text()).text
    assert "same --seed" not in capsys.readouterr().err
    assert command_line.run_command(page.main, [*flags[:1], "--beside", str(trained_run)]) == 2
    assert "is the same run" in capsys.readouterr().err
    assert command_line.run_command(page.main, [str(trained_run), str(other), "--beside", str(other)]) == 2
    assert "goes with one run alone" in capsys.readouterr().err
    assert command_line.run_command(page.main, [*flags[:1], "--beside", str(tmp_path / "nowhere")]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_groups_that_the_other_run_does_not_have_are_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.arange(40) % 4
    sure_of(8 * torch.nn.functional.one_hot(codes, 4).float(), monkeypatch)
    given = state(4, labelled=False)
    alone = html_report.collect(given)
    same = html_report.collect(dataclasses.replace(given, beside_N=3 - codes))
    # Of the other run's groups one holds half of 0 and of 1 each, another the rest of both.
    mixed = torch.where(codes < 2, torch.arange(40) // 4 % 2, codes)
    half = html_report.collect(dataclasses.replace(given, beside_N=mixed))

    def of_other(made: html_report.Page) -> list[int]:
        return [each.number for each in made.by_number if any("other run" in doubt for doubt in each.doubts)]

    assert [of_other(made) for made in (alone, same, half)] == [[], [], [0, 1]]
    second = [any("second run" in step.text for step in made.steps) for made in (alone, same, half)]
    assert second == [True, False, False], "who has one need not be told to train one"
