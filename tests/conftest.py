"""What several test files share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# `tolerances` is imported from here under every import mode of pytest, and the root stands first, lest the folder
# tests/kernels pass for the package `kernels`.
# What tests share lies in tests/ or beside them.
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), *{str(path.parent) for path in (ROOT / "tests").glob("*/test_*.py")}]


# Tests use networks too small to share out between threads, and threads that wait for each other on a busy machine
# crawl. Set before torch is imported, so that the processes which tests start do the same.
os.environ["OMP_NUM_THREADS"] = "1"

import torch  # noqa: E402 - see above

# Without a GPU, Triton's kernels run under its interpreter: set before any of them is imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of MNIST's four idx files."""
    folder = Path(os.environ.get("FASTGAN_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
    if not any(folder.glob("train-images-idx3-ubyte*")):
        pytest.skip(f"MNIST is not in {folder}; name its folder in FASTGAN_MNIST")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs on digits, averaged generator and all, for what reads finished runs."""
    from fastgan import train
    from fastgan.config import command_line
    from fastgan.reporting import run_reporter

    run = tmp_path_factory.mktemp("tiny") / "run"
    flags = ["--network.width", "8", "--network.hidden", "64", "--network.embedding", "16", "--device", "cpu"]
    flags += ["--epochs", "4", "--eval-every", "4", "--grouping.at", "1", "--run-dir", str(run)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_reporter, "obtain_judge", lambda *_: None)  # it would take longer than the run
        assert command_line.run_command(train.main, flags) == 0
    return run


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on digits, evaluated by a judge after each, whose report the loop wrote."""
    from fastgan import train
    from fastgan.config import command_line

    run = tmp_path_factory.mktemp("page") / "run"
    flags = ["--network.width", "8", "--network.hidden", "64", "--network.embedding", "16", "--device", "cpu"]
    flags += ["--epochs", "2", "--eval-every", "1", "--grouping.at", "1", "--run-dir", str(run)]
    assert command_line.run_command(train.main, flags) == 0
    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window, one for all tests of a process; skips where it or playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install -e .[dev]")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no {', '.join(BROWSERS)} on the PATH: docs/install.md says how to get one")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session", autouse=True)
def _judge_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One judge for all tests, and none of the user's."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture
def no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are evaluated without a judge, whose training would take longer than they do."""
    from fastgan.reporting import run_reporter

    monkeypatch.setattr(run_reporter, "obtain_judge", lambda *_: None)


@pytest.fixture(autouse=True)
def _same_backend_after() -> Iterator[None]:
    """No test leaves a backend behind for the next."""
    from kernels import use_backend

    yield
    use_backend("auto")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for images, and an empty cache of the user's beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded, in the end."""
    from fastgan.data import decode

    names: list[str] = []
    real = decode.decode

    def pluralize(file: Any, *form: Any) -> Any:
        names.append(Path(file.name).name)
        return real(file, *form)

    monkeypatch.setattr(decode, "decode", pluralize)
    return names
