"""What is installed: extras, versions, locks, the archives, and what is said where a library is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from own_images import speckled
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


@pytest.mark.parametrize(
    ("library", "package"),
    [("torch", "torch"), ("sklearn", "scikit-learn"), ("PIL", "pillow"), ("filelock", "filelock"), ("tyro", "tyro")],
)
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
    for name in ("docs", "docker", "examples"):
        assert {
            path.relative_to(ROOT).as_posix() for path in (ROOT / name).rglob("*.*") if path.suffix != ".pyc"
        } <= names


def test_the_wheel_holds_both_packages_and_their_data(archives: Path) -> None:
    with zipfile.ZipFile(next(archives.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        described = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in ("fastgan", "kernels")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".j2", ".css", ".js", ".csv", ".typed")
    }
    assert ours <= names
    assert not {name for name in names if name.startswith(("tests", "bench"))}
    assert "](docs/" not in described and "](bench/" not in described  # links that would lead nowhere


def installed(archives: Path, place: Path, *, libraries: bool) -> Path:
    """The folder of the programs of a new environment with the wheel, and with the libraries of this one or without."""
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, next(archives.glob("*.whl"))], check=True, capture_output=True)
    if libraries:  # a path in a .pth file is searched, and the .pth files that lie there, such as ours, are not read
        (packages,) = place.glob("lib/python*/site-packages")
        (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def call(*argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call a program with nothing of these sources on its way."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {"XDG_CACHE_HOME": str(cwd / "cache")}
    return subprocess.run([*map(str, argv)], cwd=cwd, env=env, capture_output=True, text=True)


def test_in_an_empty_environment_every_command_says_what_is_missing(archives: Path, tmp_path: Path) -> None:
    bin = installed(archives, tmp_path / "empty", libraries=False)
    listed, version = (call(bin / "fastgan", *words, cwd=tmp_path) for words in ((), ("--version",)))
    assert "fastgan train photos" in listed.stdout and version.stdout == f"fastgan {fastgan.__version__}\n"
    for command in (
        [bin / "fastgan", "train", "photos"],
        [bin / "fastgan", "check", "."],
        [bin / "python", "-m", "fastgan.train", "--help"],
        [bin / "python", "-m", "fastgan.cluster", "run"],
    ):
        done = call(*command, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), command
        line, *rest = done.stderr.splitlines()
        begin, _, packages = line.partition(" packages are not installed: pip install ")
        assert begin == f"error: {len(requirements())}" and not rest
        assert set(packages.split()) == {one.name for one in requirements()}
    done = call(bin / "python", "-c", "from fastgan import ElasticInfoGAN", cwd=tmp_path)
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: {len(requirements())} packages are not installed: ")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.slow
def test_from_the_wheel_every_command_works(archives: Path, tmp_path: Path) -> None:
    program = installed(archives, tmp_path / "env", libraries=True) / "fastgan"
    for number in range(40):
        speckled(tmp_path / "photos" / ("cat" if number % 4 else "dog") / f"{number}.png", number)
    small = "--image-size 8 --channels 1 --network.width 4 --network.hidden 8 --network.embedding 4 --batch-size 8"
    for command, made in (
        ("check photos", ""),
        (f"train photos --classes 2 --epochs 1 --run-dir run --device cpu --grouping.at {small}", "report.html"),
        ("label run photos --labels-from-folders --out table.csv --sort-into sorted", "../table.csv"),
        ("sample run --code 1", "samples/code-1.png"),
        ("report run --out again.html", "../again.html"),
        ("evaluate run --labels-from-folders", ""),
        ("export run", "export/labeller.pt2"),
    ):
        done = call(program, *command.split(), cwd=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
        assert (tmp_path / "run" / made).exists() or not made, command
    where = call(program.with_name("python"), "-c", "import fastgan; print(fastgan.__file__)", cwd=tmp_path)
    assert Path(where.stdout).is_relative_to(tmp_path / "env")
