"""What is installed: extras, versions, locks, the archives, and what is said where a library is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import fastgan
import kernels
from fastgan.runtime import libraries

ROOT = Path(__file__).parents[1]
# Imported before anything else: hides one library, as if it were not installed.
HIDE = """
import importlib.abc, os, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == os.environ["HIDDEN"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def without(library: str, tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run Python with `argv` where `library` is not installed."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "HIDDEN": library}
    return subprocess.run([sys.executable, *argv], env=env, cwd=tmp_path, capture_output=True, text=True)


@pytest.mark.parametrize(("library", "package"), [("torch", "torch"), ("sklearn", "scikit-learn"), ("PIL", "pillow")])
def test_a_command_names_the_package_that_is_missing(library: str, package: str, tmp_path: Path) -> None:
    done = without(library, tmp_path, "-m", "fastgan.train", "--run-dir", "run")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: the package {package} is not installed: pip install {package}"
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


def test_python_names_the_package_that_is_missing(tmp_path: Path) -> None:
    done = without("torch", tmp_path, "-c", "from fastgan import ElasticInfoGAN")
    assert done.stderr.splitlines()[-1] == "ImportError: the package torch is not installed: pip install torch"


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["torch>=2.11", "Nothing_there>=1", 'dali>=2; extra == "gpu"']
    )
    line = libraries.missing(ModuleNotFoundError("No module named 'sklearn'", name="sklearn"))
    assert line == "2 packages are not installed: pip install scikit-learn Nothing_there"


def test_another_fault_of_an_import_keeps_its_traceback(tmp_path: Path) -> None:
    done = without("torch.nn", tmp_path, "-m", "fastgan.train")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_there_is_one_version() -> None:
    assert fastgan.__version__ == kernels.__version__
    assert Version(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == Version(fastgan.__version__)


def pins(lock: str) -> dict[str, set[str]]:
    """The releases that a lock names, for each package: one for each kind of system."""
    found: dict[str, set[str]] = {}
    for name, release in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), flags=re.MULTILINE):
        found.setdefault(name, set()).add(release)
    return found


def requirements(extra: str = "") -> list[Requirement]:
    named = [Requirement(line) for line in metadata.requires("fastgan") or []]
    return [
        one for one in named if (f'extra == "{extra}"' in str(one.marker) if extra else "extra" not in str(one.marker))
    ]


def test_the_locks_hold_what_is_required() -> None:
    users, developers = pins("requirements.lock"), pins("requirements-dev.lock")
    for one in requirements() + requirements("gpu"):
        assert users[one.name] and all(one.specifier.contains(release) for release in users[one.name]), one
    for one in requirements("dev"):
        assert all(one.specifier.contains(release) for release in developers[one.name]), one
    assert {name: developers[name] for name in users} == users  # what users get is what is tested
    assert not {"pytest", "mypy", "ruff"} & set(users)


def test_every_lower_bound_is_tried() -> None:
    """`make lowest` runs tests with the oldest release of each package that setup.py allows."""
    lowest = {one.name: str(one.specifier) for one in map(Requirement, (ROOT / "lowest.txt").read_text().splitlines())}
    for one in requirements():
        if one.name in ("torch", "torchvision"):  # the oldest ones are those of the lock
            assert min(map(Version, pins("requirements.lock")[one.name])) in one.specifier
            continue
        (bound,) = one.specifier
        assert bound.operator == ">=" and Version(lowest[one.name][2:]).release[
            : len(Version(bound.version).release)
        ] == (Version(bound.version).release), one


def test_the_citation_names_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["references"][0]["identifiers"][0]["value"] == "arXiv:1910.01112"
    assert cited["license"] == "Apache-2.0" and cited["cff-version"] == "1.2.0"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, and a wheel that is built from it, of the files that git would clone."""
    place = tmp_path_factory.mktemp("archives")
    build = "import setuptools.build_meta as b, sys; getattr(b, sys.argv[1])(sys.argv[2])"
    source = place / "source"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        if not name.startswith(("bench/results", "tests/")) and (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-c", build, "build_sdist", place], cwd=source, check=True, capture_output=True)
    with tarfile.open(next(place.glob("*.tar.gz"))) as sdist:
        sdist.extractall(place, filter="data")
    unpacked = next(path for path in place.iterdir() if path.is_dir() and path != source)
    subprocess.run([sys.executable, "-c", build, "build_wheel", place], cwd=unpacked, check=True, capture_output=True)
    return place


def test_the_sdist_holds_what_its_readme_speaks_of(archives: Path) -> None:
    with tarfile.open(next(archives.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"requirements.lock", "LICENSE", "CITATION.cff", "README.md", "CHANGELOG.md", "docs/README.md"} <= names


def test_the_wheel_holds_both_packages_and_their_data(archives: Path) -> None:
    with zipfile.ZipFile(next(archives.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        described = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in ("fastgan", "kernels")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".j2", ".csv", ".typed")
    }
    assert ours <= names
    assert not {name for name in names if name.startswith(("tests", "bench"))}
    assert "](docs/" not in described and "](bench/" not in described  # links that would lead nowhere
