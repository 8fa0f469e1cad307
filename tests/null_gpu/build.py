"""Build the null GPU, once for each state of its sources and of torch, into build/null_gpu/ (which git ignores)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
BUILDS = HERE.parents[1] / "build" / "null_gpu"
SITE = Path(sysconfig.get_paths()["purelib"])
HEADERS = (SITE / "nvidia" / "cu13" / "include", SITE / "triton" / "backends" / "nvidia" / "include")
SOURCES = ("runtime.cpp", "driver.cpp", "libraries.cpp")
LIBRARY = "libcuda.so.1"  # the driver's name, which Triton looks for
OURS = re.compile(r"(__cuda|cuda|cublas|cudnn|cu[A-Z])\w+")
OTHERS = ("cuFile",)  # libraries that torch loads and no step uses


def missing() -> str | None:
    """Why it cannot be built here; None if it can."""
    if (
        importlib.metadata.version("torch").endswith("+cpu")
        or not (SITE / "torch" / "lib" / "libtorch_cuda.so").exists()
    ):
        return "torch is not built for CUDA"
    if absent := [str(folder) for folder in HEADERS if not folder.is_dir()]:
        return f"no headers of CUDA 13 in {', '.join(absent)}"
    if absent := [name for name in ("g++", "nm") if shutil.which(name) is None]:
        return f"{' and '.join(absent)} not found"
    return None


def built() -> Path:
    """The folder of the library, built now if it was not before."""
    state = [(HERE / name).read_bytes() for name in ("build.py", "device.hpp", *SOURCES)]
    state += [importlib.metadata.version(name).encode() for name in ("torch", "triton")]
    folder = BUILDS / hashlib.sha256(b"\0".join(state)).hexdigest()[:16]
    if not (folder / LIBRARY).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _build(Path(scratch))
            with suppress(FileExistsError):  # built by another process meanwhile, which may be using it
                os.link(Path(scratch) / LIBRARY, folder / LIBRARY)
    return folder


def _build(folder: Path) -> None:
    names = _wanted()
    includes = [f"-I{path}" for path in HEADERS]
    flags = ["g++", "-std=c++17", "-O1", "-fPIC", *includes]
    objects = []
    for source in SOURCES:
        objects.append(folder / f"{source}.o")
        subprocess.run([*flags, "-c", str(HERE / source), "-o", str(objects[-1])], check=True)
    stubs = folder / "stubs.cpp"
    stubs.write_text(_stubs(names - _symbols("--defined-only", *objects)), encoding="utf-8")
    # Under its name, so that whoever opens the driver by that name is given what is loaded already.
    library = ["-shared", f"-Wl,-soname,{LIBRARY}", "-o", str(folder / LIBRARY)]
    subprocess.run([*flags, *library, *map(str, objects), str(stubs), "-ldl"], check=True)


def _symbols(which: str, *files: Path) -> set[str]:
    """The names in symbol tables, without their versions."""
    dynamic = ["-D"] if which == "--undefined-only" else []
    said = subprocess.run(["nm", *dynamic, which, *map(str, files)], capture_output=True, text=True, check=True).stdout
    return {words[-1].partition("@")[0] for line in said.splitlines() if len(words := line.split()) > 1}


def _wanted() -> set[str]:
    """The entry points of CUDA that torch's libraries leave open, and all of the driver's."""
    torch_libraries = sorted((SITE / "torch" / "lib").glob("*.so"))
    opened = {name for name in _symbols("--undefined-only", *torch_libraries) if OURS.fullmatch(name)}
    driver = set(re.findall(r"CUDAAPI\s+(cu[A-Z]\w+)\(", (HEADERS[1] / "cuda.h").read_text(encoding="utf-8")))
    return {name for name in opened | driver if not name.startswith(OTHERS)}


def _stubs(names: set[str]) -> str:
    """Entry points that do nothing and succeed, of all that no source stands in for."""
    head = 'extern "C" void null_lacks(const char* name);\n'
    body = '{{ static bool said; if (!said) {{ said = true; null_lacks("{0}"); }} return 0; }}'
    export = 'extern "C" __attribute__((visibility("default"))) long {0}(...) '
    return head + "".join((export + body).format(name) + "\n" for name in sorted(names))
