"""Choosing a backend, and importing the package without Triton."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kernels import backend, runs_triton, use_backend


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
    """Refused with the remedy if chosen by name; a GPU or TRITON_INTERPRET=1 is enough."""
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
    """And float64 always runs the reference."""
    use_backend("auto")
    assert not runs_triton(torch.zeros(1))
    use_backend("triton")
    assert runs_triton(torch.zeros(1)) and not runs_triton(torch.zeros(1, dtype=torch.float64))
    use_backend("reference")
    assert not runs_triton(torch.zeros(1))


# --- a machine whose Triton cannot build ---

BACKEND = sys.modules["kernels.backend"]  # the package has a function of that name
NO_COMPILER = "Failed to find C compiler. Please specify via CC environment variable"
ON_CUDA: Any = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32)  # all that runs_triton asks of it


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Exception | None]:
    """Pretend a GPU on which nothing was built yet; the list holds what the next launches of the empty kernel raise."""
    pytest.importorskip("triton")
    from kernels import triton_probe

    outcomes: list[Exception | None] = []

    def launch() -> None:
        if (error := outcomes.pop(0)) is not None:
            raise error

    monkeypatch.setattr(triton_probe, "launch", launch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(BACKEND, "interpreted", lambda: False)
    monkeypatch.setattr(BACKEND, "_interpreting", False)
    monkeypatch.setattr(BACKEND, "_builds", None)
    monkeypatch.setattr(BACKEND, "_failure", "")
    return outcomes


def test_auto_tries_triton_once(probes: list[Exception | None]) -> None:
    probes.append(None)
    assert all(runs_triton(ON_CUDA) for _ in range(3))
    use_backend("triton")
    assert runs_triton(ON_CUDA) and not probes


@pytest.mark.parametrize(
    "error, said",
    [
        (RuntimeError(NO_COMPILER), NO_COMPILER),
        (subprocess.CalledProcessError(1, ["/usr/bin/gcc", "main.c", "-O3"]), "gcc ended with exit code 1"),
        (AssertionError("libcuda.so cannot found!\nmore"), "libcuda.so cannot found!"),
        (AssertionError(), "AssertionError"),
    ],
    ids=["no compiler", "no headers", "no libcuda", "no words"],
)
def test_where_triton_cannot_build(probes: list[Exception | None], error: Exception, said: str) -> None:
    """ "auto" warns once, with cause and remedy, and runs the plain versions; "triton" is an error of one line."""
    probes.append(error)
    with pytest.warns(RuntimeWarning) as warned:
        assert not any(runs_triton(ON_CUDA) for _ in range(3))
    (warning,) = [str(one.message) for one in warned]
    assert f"({said})" in warning and "gcc" in warning and "--kernels reference" in warning and "\n" not in warning
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        use_backend("triton")
    assert "gcc" in str(refused.value) and "\n" not in str(refused.value)
    assert backend() == "auto" and not probes  # tried once


def test_triton_by_name_is_tried_at_once(probes: list[Exception | None]) -> None:
    from fastgan.errors import ConfigError
    from fastgan.runtime.device import choose_kernels

    probes.append(RuntimeError(NO_COMPILER))
    with pytest.raises(ConfigError, match=r"--kernels triton: .*Failed to find C compiler.*install a C compiler"):
        choose_kernels("triton")
    assert not probes


def test_reference_tries_nothing(probes: list[Exception | None]) -> None:
    use_backend("reference")
    assert not runs_triton(ON_CUDA)


def test_triton_is_not_tried_where_it_cannot_run(
    probes: list[Exception | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """During graph capture, for fake tensors, under torch.compile."""
    for module, name, value in (
        (torch.cuda, "is_current_stream_capturing", True),
        (torch.cuda, "is_available", False),
        (torch.compiler, "is_compiling", True),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda value=value: value)
            assert runs_triton(ON_CUDA)


def test_the_choice_is_traced_without_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not Triton was tried, torch.compile reads plain values."""

    def doubled(x: torch.Tensor) -> torch.Tensor:
        return 2 * x if runs_triton(ON_CUDA) else x

    for known, factor in ((None, 2.0), (True, 2.0), (False, 1.0)):
        monkeypatch.setattr(BACKEND, "_builds", known)
        torch.compiler.reset()
        compiled = torch.compile(doubled, fullgraph=True, backend="eager")
        assert compiled(torch.ones(1)).item() == factor


def test_the_probe_launches_an_empty_kernel() -> None:
    from kernels.backend import interpreted

    if not (torch.cuda.is_available() or interpreted()):
        pytest.skip("neither a GPU nor the interpreter")
    assert BACKEND._try_to_build() == ""


@pytest.mark.parametrize("version, good", [("2.3.5", True), ("2.4.0", False), ("2.5.0rc1", False), ("3.0.0", False)])
def test_the_interpreter_needs_an_older_numpy(version: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(BACKEND, "interpreted", lambda: True)
    monkeypatch.setattr(np, "__version__", version)
    if good:
        use_backend("triton")
    else:
        with pytest.raises(ValueError, match=re.escape(f"fails under NumPy {version}; pip install 'numpy<2.4'")):
            use_backend("triton")
        use_backend("auto")
