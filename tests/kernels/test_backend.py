"""Choosing a backend, and importing the package without Triton."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels import backend, use_backend


def test_default() -> None:
    assert backend() == "auto"


def test_as_a_function() -> None:
    use_backend("reference")
    assert backend() == "reference"
    use_backend("auto")
    assert backend() == "auto"


def test_as_a_context_manager() -> None:
    with use_backend("reference"):
        assert backend() == "reference"
        with use_backend("auto"):
            assert backend() == "auto"
        assert backend() == "reference"
    assert backend() == "auto"


def test_an_error_inside_restores_it() -> None:
    with pytest.raises(RuntimeError, match="inside"), use_backend("reference"):
        raise RuntimeError("inside")
    assert backend() == "auto"


def test_it_is_the_default_of_the_whole_process() -> None:
    """Autograd and data loading run in threads of their own."""
    use_backend("reference")
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(backend()))
    thread.start()
    thread.join()
    assert seen == ["reference"]


@pytest.mark.parametrize("name", ["cuda", "", "Reference", None])
def test_unknown_names_are_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"backend {name!r}: must be one of auto, triton, reference")):
        use_backend(name)
    assert backend() == "auto"


def test_importing_kernels_needs_no_triton() -> None:
    """Neither imports it nor fails without it."""
    code = (
        "import sys; sys.modules['triton'] = None; import kernels; "
        "print([name for name in sys.modules if name.split('.')[0] == 'triton' and sys.modules[name] is not None])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_triton_needs_a_gpu_or_the_interpreter() -> None:
    """Refused where it is asked for, with the remedy; a GPU or TRITON_INTERPRET=1 makes it right."""
    code = "import kernels; kernels.use_backend('triton')"
    root = Path(__file__).parents[2]
    for interpret in ("0", "1"):
        environment = os.environ | {"TRITON_INTERPRET": interpret, "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) == (interpret == "1"), done.stderr
        if interpret == "0":
            assert "ValueError" in done.stderr and "TRITON_INTERPRET=1" in done.stderr and '"auto"' in done.stderr


def test_triton_that_is_not_installed() -> None:
    code = "import sys; sys.modules['triton'] = None; import kernels; kernels.use_backend('triton')"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "pip install triton" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's tensors take the kernels")
def test_auto_never_interprets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does float64 ever leave the reference."""
    from kernels.backend import runs_triton

    use_backend("auto")
    assert not runs_triton(torch.zeros(1))
    use_backend("triton")
    assert runs_triton(torch.zeros(1)) and not runs_triton(torch.zeros(1, dtype=torch.float64))
    use_backend("reference")
    assert not runs_triton(torch.zeros(1))
