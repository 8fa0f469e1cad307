"""Data flows one way: who may import whom, read off the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.checks import house

ROOT = Path(__file__).parent.parent
# Each folder of fastgan, those below first, and what it may import besides the small files beside them.
# "commands" are the files of fastgan/ that are run.
ROOMS: dict[str, set[str]] = {
    "runtime": {"kernels"},
    "config": {"runtime"},
    "data": {"runtime", "config"},
    "runs": {"runtime", "config"},
    "models": {"runtime", "config", "kernels"},
    "augment": {"config", "data", "kernels"},
    "inference": {"runtime", "config", "data", "runs", "models", "kernels"},
    "step": {"runtime", "config", "data", "models", "kernels"},
    "training": {"runtime", "config", "data", "runs", "models", "augment", "inference", "step"},
    "evaluation": {"runtime", "config", "data", "runs", "models", "augment", "inference"},
    "reporting": {"runtime", "config", "data", "runs", "models", "inference", "evaluation"},
    "sweep": {"runtime", "config", "data", "runs", "inference", "step", "training", "evaluation", "reporting"},
    "tasks": {"runtime", "config", "data", "runs", "inference", "training", "evaluation", "reporting", "sweep"},
    "commands": {"runtime", "config", "data", "runs", "inference", "sweep", "tasks"},
    "api": {"runtime", "config", "data", "runs", "inference", "evaluation", "reporting", "tasks", "commands"},
}
SMALL = {"errors", "seeding", "text"}


def _imported(path: Path) -> set[str]:
    """Dotted names of everything of ours that a file imports."""
    names = house.imported(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return {name for name in names if name.split(".")[0] in ("fastgan", "kernels", "bench", "tests")}


def _room(name: str) -> str:
    """The room that a dotted name of fastgan lies in; another package's name."""
    package, *rest = name.split(".")
    if package != "fastgan":
        return package
    if rest and rest[0] in (*ROOMS, *SMALL):
        return rest[0]
    return (
        "commands" if rest and rest[0] != "__init__" and (ROOT / "fastgan" / f"{rest[0]}.py").exists() else "__init__"
    )


def _own_room(path: Path) -> str:
    parts = path.relative_to(ROOT / "fastgan").parts
    return parts[0] if len(parts) > 1 else _room(f"fastgan.{path.stem}")


@pytest.mark.parametrize("path", sorted((ROOT / "fastgan").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    own = _own_room(path)
    allowed = {"runtime", "api"} if own == "__init__" else set() if own in SMALL else ROOMS[own] | {own}
    extra = {_room(name) for name in _imported(path)} - allowed - SMALL - {"__init__"}
    assert not extra, f"{path.name} imports {sorted(extra)}"


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_kernels_never_import_fastgan(path: Path) -> None:
    assert {name.split(".")[0] for name in _imported(path)} <= {"kernels"}


# What each file of an op's folder may import besides torch; op.py and launch.py may import them all.
TRITON = ("triton_kernel", "small_kernel", "backward_kernel")
OUTSIDE = {**dict.fromkeys(TRITON, {"triton"}), "reference": {"torch"}, "cpu": {"torch", "numpy"}}
INSIDE = {
    "triton_kernel": {"philox", "triton_arguments"},
    "small_kernel": {"triton_arguments"},
    "backward_kernel": {"triton_arguments"},
    "reference": {"philox", "checks"},
    "cpu": {"philox", "checks", "products"},
}


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").glob("*/*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_kernel_and_its_twin_know_nothing_of_each_other(path: Path) -> None:
    if path.stem not in OUTSIDE:
        return
    outside, inside = set(), set()
    for name in house.imported(ast.parse(path.read_text(encoding="utf-8"))):
        package, _, rest = name.partition(".")
        (inside if package == "kernels" else outside).add(rest.split(".")[0] if package == "kernels" else package)
    assert outside - {"__future__", "typing", "collections", "functools", "math", "concurrent"} <= OUTSIDE[path.stem]
    assert inside - {path.parent.name} <= INSIDE[path.stem]


def test_nothing_imports_bench_or_tests() -> None:
    """But bench itself and, for the name of the machine, the command of tests/faults."""
    for path in sorted((ROOT / "bench").rglob("*.py")):
        assert not {name for name in _imported(path) if name.split(".")[0] == "tests"}, path
    measuring = {path for path in (ROOT / "tests").rglob("*.py") if "bench.measure.machine" in _imported(path)}
    assert measuring == {ROOT / "tests" / "faults" / "__main__.py"}


def test_no_file_grows_past_350_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for folder in ("fastgan", "kernels", "bench", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert not long


def test_a_specification_is_short() -> None:
    for path in (ROOT / "kernels").rglob("reference.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 100, path
