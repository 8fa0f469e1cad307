"""Ctrl-C while a command still imports its libraries ends it without a traceback; other programs keep theirs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# The import that takes longest is one that never ends, until Ctrl-C.
STUCK = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
@pytest.mark.parametrize("command", ["fastgan.train", "fastgan.check photos", "fastgan train photos"])
def test_ctrl_c_during_imports(command: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(STUCK)
    (tmp_path / "photos").mkdir()
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        env={"PYTHONPATH": path, "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in a background job
    )
    assert done.stderr == "loading libraries ...\nstopped; the same command starts again\n"
    assert done.returncode == 130 and [path.name for path in (tmp_path / "photos").iterdir()] == []


def test_other_programs_keep_their_tracebacks_and_signals(tmp_path: Path) -> None:
    code = "import signal, sys; before = signal.getsignal(15), signal.getsignal(2), sys.excepthook; import fastgan; "
    code += "assert before == (signal.getsignal(15), signal.getsignal(2), sys.excepthook)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
