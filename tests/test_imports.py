"""Data flows one way: who may import whom, read off the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KERNELS = {"kernels"}
BASE = {"config", "errors"}

# Module (or package) of fastgan -> the parts of fastgan that it may import; "kernels" is the kernels package.
ALLOWED = {
    "__init__": {"stages", "threads"},
    "precision": BASE,
    "stages": set(),
    "threads": {"errors", "wording"},
    "errors": set(),
    "config": {"errors"},
    "config_json": BASE,
    "presets": BASE,
    "schedule": {"config"},
    "command_line": BASE | {"presets", "stages"},
    "compiled": set(),
    "data": {"threads"} | BASE | {"data", "stages", "wording"},
    "augment": BASE | {"augment"} | KERNELS,
    "feed": {"augment"},
    "captured": {"errors"},
    "linear": KERNELS,
    "memory": set(),
    "normalise": {"distributed"},
    "model": {"config", "linear", "normalise"},
    "mixed": {"model"},
    "prior": {"errors"} | KERNELS,
    "losses": {"distributed"} | KERNELS,
    "real_losses": {"config", "distributed", "losses", "model"},
    "objectives": {"augment", "compiled", "config", "distributed", "losses", "model", "prior", "real_losses"},
    "adam": {"config", "mixed", "model"} | KERNELS,
    "average": set(),
    "guard": {"errors", "normalise"},
    "step": {"precision"}
    | {"adam", "average", "compiled", "config", "distributed", "guard", "mixed", "model", "normalise", "objectives"}
    | {"prior"}
    | KERNELS,
    "checkpoint": {"errors"},
    "metrics": {"config"},
    "report": {"config"},
    "interpolation": set(),
    "wording": set(),
    "advice": {"metrics", "schedule", "wording"},
    "pictures": {"metrics"},
    "page": {"stages"}
    | BASE
    | {"advice", "command_line", "data", "evaluation", "inference", "metrics", "model", "pictures", "report"}
    | {"run_folder", "schedule", "trained"},
    "run_folder": BASE | {"__init__", "config_json"} | KERNELS,
    "judge_network": set(),
    "judge": {"augment", "config", "data", "inference", "judge_network", "precision", "stages"},
    "inference": {"precision", "stages"} | {"augment", "config", "data", "model"},
    "evaluation": {"stages"}
    | {"advice", "config", "data", "inference", "judge", "judge_network", "metrics", "model"}
    | KERNELS,
    "grouping": {"config", "data"},
    "table": set(),
    "trainer": BASE
    | {"augment", "captured", "compiled", "data", "distributed", "feed", "grouping", "inference", "model", "prior"}
    | {"step"},
    "board": set(),
    "loop": {"stages", "threads", "turns"}
    | BASE
    | {"board", "checkpoint", "data", "evaluation", "guard", "metrics", "page", "report", "run_folder", "step"}
    | {"progress", "stopping", "trainer"},
    "stopping": set(),
    "progress": {"distributed", "step"},
    "methods": BASE,
    "distributed": {"errors", "watch"},
    "watch": set(),
    "results": {"errors"},
    "sweep": BASE
    | {"command_line", "data", "distributed", "evaluation", "loop", "results", "run_folder", "stages", "step"}
    | {"trainer", "turns", "wording"},
    "turns": set(),
    "at_once": BASE | {"distributed", "results", "stopping", "sweep", "threads", "turns", "wording"},
    "workers": BASE | {"at_once", "distributed", "memory", "results", "run_folder", "sweep", "threads"},
    "reproduce": {"at_once", "threads", "workers"}
    | BASE
    | {"command_line", "distributed", "memory", "methods", "presets", "results", "run_folder", "sweep", "table"}
    | {"wording"},
    "agreement": BASE | {"advice", "data", "inference", "metrics", "run_folder", "schedule", "trained"},
    "trained": {"config_json", "precision", "threads"} | BASE | {"checkpoint", "model", "prior", "run_folder", "step"},
    "train": {"threads"}
    | BASE
    | {
        "advice",
        "command_line",
        "config_json",
        "data",
        "distributed",
        "loop",
        "memory",
        "metrics",
        "page",
        "run_folder",
    }
    | {"schedule", "trainer", "wording"},
    "evaluate": {"stages"}
    | BASE
    | {"advice", "agreement", "command_line", "data", "evaluation", "metrics", "run_folder", "schedule"}
    | {"trained"},
    "sample": {"stages"}
    | BASE
    | {"command_line", "evaluation", "interpolation", "report", "run_folder", "trained", "wording"},
    "sorting": {"errors"},
    "cluster": BASE | {"advice", "command_line", "data", "inference", "run_folder", "sorting", "trained", "wording"},
    "export_readme": {"config_json", "run_folder", "trained"},
    "export": {"stages"} | BASE | {"augment", "command_line", "export_readme", "linear", "model", "trained"},
}


def _imported(path: Path) -> set[str]:
    """Dotted names of everything of ours that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ("fastgan", "kernels", "bench", "tests")}


def _part(name: str) -> str:
    """The part of the tree that a dotted name lies in."""
    package, *rest = name.split(".")
    if package != "fastgan":
        return package
    return rest[0] if rest and rest[0] in ALLOWED else "__init__"


@pytest.mark.parametrize("path", sorted((ROOT / "fastgan").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_fastgan_imports_only_what_it_may(path: Path) -> None:
    own = path.relative_to(ROOT / "fastgan").parts[0].removesuffix(".py")
    extra = {_part(name) for name in _imported(path)} - ALLOWED[own]
    assert not extra, f"{path.name} imports {sorted(extra)}"


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_kernels_never_import_fastgan(path: Path) -> None:
    assert {name.split(".")[0] for name in _imported(path)} <= {"kernels"}


# What each file of an op's folder may import besides torch; op.py and launch.py may import them all.
OUTSIDE = {"triton_kernel": {"triton"}, "small_kernel": {"triton"}, "reference": {"torch"}, "cpu": {"torch", "numpy"}}
INSIDE = {
    "triton_kernel": {"triton_stream", "triton_arguments"},
    "small_kernel": {"triton_arguments"},
    "reference": {"philox", "checks"},
    "cpu": {"philox", "philox_numpy", "checks", "products"},
}


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").glob("*/*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_kernel_and_its_twin_know_nothing_of_each_other(path: Path) -> None:
    if path.stem not in OUTSIDE:
        return
    outside, inside = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
        for name in names:
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
