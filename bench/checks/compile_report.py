"""Compile every Triton kernel for a GPU that need not be there, and read what the compiler made of it.

    python -m bench.checks.compile_report [--capability 80 90] [--most N] [--save]

Registers, stack (spills) and shared memory a kernel, the tensor-core instructions and the widest accesses in its PTX.
Nothing here is a time. Exit code 1 if a kernel spills, takes more shared memory than there is, misses the tensor cores
or computes addresses in 32 bits; the `ieee` products, which no tensor core computes, may have a stack.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

OPS = ("gumbel_softmax", "normal", "nt_xent", "adam")
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
RESULTS = Path(__file__).parents[1] / "results"
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that a program may take


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of one configuration."""

    name: str
    capability: int
    registers: int
    stack: int
    shared: int
    matrix: str
    """The tensor-core instruction: wgmma, mma or none."""
    widest: int
    """Bytes of the widest global load or store of a thread."""
    instructions: int
    ttir: str


def _compile(name: str, capability: int, kernel: Any, signature: Any, constants: Any, options: Any) -> Compiled:
    order = {argument: i for i, argument in enumerate(kernel.arg_names)}
    # As at run time: torch allocates at multiples of 16 bytes, and a number that 16 divides is known to be one
    # (here "i32:16").
    even = [argument for argument, kind in signature.items() if kind.startswith("*") or kind.endswith(":16")]
    attributes = {(order[argument],): [["tt.divisibility", 16]] for argument in even}
    signature = {argument: kind.removesuffix(":16") for argument, kind in signature.items()}
    source = ASTSource(
        fn=kernel,
        signature={**signature, **dict.fromkeys(constants, "constexpr")},
        constexprs=constants,
        attrs=attributes,
    )
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    ptx = made.asm["ptx"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        command = [str(TOOLS / "cuobjdump"), "--dump-resource-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    numbers = {key: int(value) for key, value in re.findall(r"(REG|STACK):(\d+)", usage)}
    widths = [
        int(bits) // 8 * int(vector or 1)
        for vector, bits in re.findall(r"(?:ld|st)\.global(?:\.c[agsv]|\.volatile)*(?:\.v(\d))?\.[bfus](\d+)", ptx)
    ]
    matrix = "wgmma" if "wgmma.mma_async" in ptx else "mma" if "mma.sync" in ptx else "none"
    lines = [line for line in ptx.splitlines() if line.startswith("\t") and not line.startswith("\t.")]
    return Compiled(
        name,
        capability,
        numbers["REG"],
        numbers["STACK"],
        made.metadata.shared,
        matrix,
        max(widths, default=0),
        len(lines),
        made.asm["ttir"],
    )


def compile_all(capability: int, ops: tuple[str, ...] = OPS, most: int | None = None) -> Iterator[Compiled]:
    """Each configuration that the launchers of `ops` can choose on a GPU of this compute capability (80, 90).

    most: so many of each kernel at most, spread evenly.
    """
    for op in ops:
        found: dict[str, list[Any]] = {}
        for configuration in importlib.import_module(f"kernels.{op}.launch").configurations(capability):
            found.setdefault(configuration[1].fn.__name__, []).append(configuration)
        for each in found.values():
            step = 1 if most is None else max(1, len(each) // most)
            for name, kernel, signature, constants, options in each[::step][: most or len(each)]:
                yield _compile(name, capability, kernel, signature, constants, options)


def problems(found: Compiled) -> list[str]:
    """What a kernel must not be, in words."""
    wrong = []
    exact = "ieee" in found.name
    if found.stack and not exact:
        wrong.append(f"a stack of {found.stack} bytes")
    if found.shared > SHARED[found.capability]:
        wrong.append(f"{found.shared} bytes of shared memory, of {SHARED[found.capability]}")
    multiplies = "tt.dot" in found.ttir
    if multiplies and not exact and found.matrix == "none":
        wrong.append("no tensor-core instruction")
    if multiplies and not exact and found.capability == 90 and "small" not in found.name and found.matrix != "wgmma":
        wrong.append("no wgmma")
    if "i64" not in found.ttir:
        wrong.append("no 64-bit offset")
    return wrong


def _line(found: Compiled) -> str:
    columns = (found.registers, found.stack, found.shared, found.matrix, found.widest, found.instructions)
    return f"{found.name:52} {found.capability:4}" + "".join(f"{column:>10}" for column in columns)


def main() -> int:
    """Print the table; with --save keep it in bench/results/. 1 if a kernel has a problem."""
    parser = argparse.ArgumentParser(prog="python -m bench.checks.compile_report", description=__doc__)
    parser.add_argument("--capability", type=int, nargs="+", default=[80, 90], help="compute capabilities times ten")
    parser.add_argument("--op", nargs="+", choices=OPS, default=OPS, help="which ops")
    parser.add_argument("--most", type=int, help="so many configurations of each kernel at most")
    parser.add_argument("--save", action="store_true", help="write bench/results/compile.txt as well")
    chosen = parser.parse_args()
    heads = ("registers", "stack B", "shared B", "matrix", "widest B", "PTX lines")
    lines = [f"triton {triton.__version__}", f"{'kernel':52} {'sm':>4}" + "".join(f"{head:>10}" for head in heads)]
    print(*lines, sep="\n", flush=True)
    failed = False
    for capability in chosen.capability:
        for found in compile_all(capability, tuple(chosen.op), chosen.most):
            wrong = problems(found)
            failed |= bool(wrong)
            lines.append(_line(found) + "".join(f"  PROBLEM: {problem}" for problem in wrong))
            print(lines[-1], flush=True)
    if chosen.save:
        (RESULTS / "compile.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
