"""The stages of bench/gpu.sh without a GPU: what fits into a call, what a limit leaves, what a second call does."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from bench.gpu import stages
from bench.gpu.stages import Part

COMMAND = 600.0  # seconds that a command on a lent machine may take


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stage's results; results kept beside it in place of bench/results."""
    (tmp_path / "results").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(stages, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(stages, "GRACE", 5.0)
    return tmp_path / "out"


def part(name: str, code: str, seconds: float = 20.0, **more: object) -> Part:
    return Part(name, (sys.executable, "-c", code), seconds, lambda: None, **more)  # type: ignore[arg-type]


def stage(monkeypatch: pytest.MonkeyPatch, *parts: Part) -> None:
    monkeypatch.setitem(stages.STAGES, "tried", parts)


def outcomes(out: Path) -> dict[str, str]:
    return json.loads((out / "tried.json").read_text(encoding="utf-8"))


def test_every_part_fits_into_a_call() -> None:
    assert stages.BUDGET + stages.GRACE < COMMAND - 30
    for parts in stages.STAGES.values():
        assert all(part.seconds <= stages.BUDGET for part in parts)
        names = [part.name for part in parts]
        assert len(set(names)) == len(names)
        assert all(part.after is None or part.after in names[: names.index(part.name)] for part in parts)


def test_compilers_with_cold_caches_have_time() -> None:
    """Tests of kernels that have still to be compiled take minutes."""
    for name in ("kernels", "step"):
        assert stages.STAGES[name][0].name == "tests" and stages.STAGES[name][0].seconds >= 400


def test_a_limit_leaves_what_was_made(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part that is too slow is interrupted, prints what it has, and its tables are kept; the next part runs."""
    slow = f"""
import pathlib, time
pathlib.Path({str(stages.RESULTS)!r}, "slow-cuda-x.txt").write_text("first half")
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("half of it")
"""
    stage(monkeypatch, part("slow", slow, 2.0, keep=("slow-cuda-*",)), part("quick", "print('done')"))
    assert stages.main("tried", out) == 1
    assert outcomes(out)["slow"].startswith("failed: longer than 2 s")
    assert outcomes(out)["quick"].startswith("ok")
    assert "half of it" in (out / "tried.log").read_text(encoding="utf-8")
    assert (out / "slow-cuda-x.txt").read_text(encoding="utf-8") == "first half"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["slow", "quick"]


def test_nothing_of_a_part_goes_on(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that does not heed an interruption, nor what it started."""
    written = out / "child"
    stubborn = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open({str(written)!r}, "w").write(str(child.pid))
time.sleep(60)
"""
    monkeypatch.setattr(stages, "GRACE", 0.5)
    stage(monkeypatch, part("stubborn", stubborn, 2.0))
    assert stages.main("tried", out) == 1
    status = Path(f"/proc/{written.read_text()}/status")
    for _ in range(50):  # its new parent has still to bury it
        if not status.exists() or "zombie" in status.read_text():
            return
        time.sleep(0.1)
    pytest.fail("its child lives")


def test_each_line_comes_as_its_part_ends(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a lent machine's limit cuts off has then been said, and recorded."""
    said: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr("builtins.print", lambda line, **_: said.append((line, outcomes(out))))
    stage(monkeypatch, part("one", ""), part("two", "raise SystemExit(3)"))
    assert stages.main("tried", out) == 1
    assert [line.split()[0] for line, _ in said] == ["one", "two"]
    assert list(said[0][1]) == ["one"] and said[1][1]["two"].startswith("failed: exit code 3")


def test_a_second_call_does_what_is_left(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part is begun only where its whole limit is left, but for the first of a call."""
    monkeypatch.setattr(stages, "BUDGET", 20.0)
    log = str(out / "ran")
    parts = [part(name, f"open({log!r}, 'a').write({name!r})", 20.0) for name in "abc"]
    stage(monkeypatch, *parts)
    for call in range(3):
        assert stages.main("tried", out) == 0
        assert Path(log).read_text() == "abc"[: call + 1]
    capsys.readouterr()
    assert stages.main("tried", out) == 0
    assert Path(log).read_text() == "abc"
    assert all("in an earlier call" in line for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("green", [True, False])
def test_a_part_is_told_of_tests_that_passed(out: Path, monkeypatch: pytest.MonkeyPatch, green: bool) -> None:
    """Figures need green tests, which need not run twice for them."""
    monkeypatch.delenv("FASTGAN_AGREED", raising=False)
    told = f"import os; open({str(out / 'told')!r}, 'w').write(os.environ.get('FASTGAN_AGREED', 'no'))"
    stage(monkeypatch, part("tests", "" if green else "raise SystemExit(1)"), part("bench", told, after="tests"))
    stages.main("tried", out)
    assert (out / "told").read_text() == ("1" if green else "no")
    assert "FASTGAN_AGREED" not in os.environ


def test_what_is_missing_is_skipped(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(monkeypatch, Part("train", ("false",), 20.0, lambda: "no CUDA GPU"))
    assert stages.main("tried", out) == 0
    assert outcomes(out) == {"train": "skipped: no CUDA GPU"}
