"""Compile every Triton kernel for a GPU, which need not be present, and report what the compiler made of it.

    python -m bench.checks.compile_report [--capability 80 90] [--most N] [--save]
    python -m bench.checks.compile_report --loops [--op OP] [--save]

For each kernel: registers, stack (spills), shared memory, and in its PTX the tensor-core instruction and the widest
access. No times. Exit code 1 if a kernel spills, needs more shared memory than there is, does not use the tensor cores
or computes addresses in 32 bits; kernels with `ieee` products, which no tensor core computes, may have a stack.
--loops instead reads the machine code of a few configurations (bench/checks/loops.py).
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

from bench.checks import loops

OPS = ("gumbel_softmax", "normal", "nt_xent", "adam")
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
RESULTS = Path(__file__).parents[1] / "results"
SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that one program can use


@dataclass(frozen=True)
class Compiled:
    """What the compiler made of one configuration."""

    name: str
    capability: int
    registers: int
    stack: int
    shared: int
    tensor_core: str
    """The tensor-core instruction: wgmma, mma or none."""
    widest: int
    """Bytes of the widest global load or store of a thread."""
    instructions: int
    ttir: str


def _built(capability: int, kernel: Any, signature: Any, constants: Any, options: Any) -> Any:
    """What Triton makes of a configuration."""
    order = {argument: i for i, argument in enumerate(kernel.arg_names)}
    # As at run time: torch allocates at multiples of 16 bytes, and Triton knows integers that 16 divides ("i32:16").
    divisible = [argument for argument, kind in signature.items() if kind.startswith("*") or kind.endswith(":16")]
    attributes = {(order[argument],): [["tt.divisibility", 16]] for argument in divisible}
    signature = {argument: kind.removesuffix(":16") for argument, kind in signature.items()}
    source = ASTSource(
        fn=kernel,
        signature={**signature, **dict.fromkeys(constants, "constexpr")},
        constexprs=constants,
        attrs=attributes,
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def _dump(compiled: Any, tool: str, *flags: str) -> str:
    """What one of NVIDIA's tools says of the machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        return subprocess.run([str(TOOLS / tool), *flags, file.name], capture_output=True, text=True, check=True).stdout


def _compile(name: str, capability: int, *configuration: Any) -> Compiled:
    compiled = _built(capability, *configuration)
    ptx = compiled.asm["ptx"]
    usage = _dump(compiled, "cuobjdump", "--dump-resource-usage")
    numbers = {key: int(value) for key, value in re.findall(r"(REG|STACK):(\d+)", usage)}
    widths = [
        int(bits) // 8 * int(vector or 1)
        for vector, bits in re.findall(r"(?:ld|st)\.global(?:\.c[agsv]|\.volatile)*(?:\.v(\d))?\.[bfus](\d+)", ptx)
    ]
    tensor_core = "wgmma" if "wgmma.mma_async" in ptx else "mma" if "mma.sync" in ptx else "none"
    lines = [line for line in ptx.splitlines() if line.startswith("\t") and not line.startswith("\t.")]
    return Compiled(
        name,
        capability,
        numbers["REG"],
        numbers["STACK"],
        compiled.metadata.shared,
        tensor_core,
        max(widths, default=0),
        len(lines),
        compiled.asm["ttir"],
    )


def compile_all(capability: int, ops: tuple[str, ...] = OPS, most: int | None = None) -> Iterator[Compiled]:
    """Compile each configuration that `ops` can launch at this compute capability (80, 90).

    most: at most so many configurations of each kernel, evenly spread.
    """
    for op in ops:
        by_kernel: dict[str, list[Any]] = {}
        for configuration in importlib.import_module(f"kernels.{op}.launch").configurations(capability):
            by_kernel.setdefault(configuration[1].fn.__name__, []).append(configuration)
        for configurations in by_kernel.values():
            step = 1 if most is None else max(1, len(configurations) // most)
            for name, function, signature, constants, options in configurations[::step][: most or len(configurations)]:
                yield _compile(name, capability, function, signature, constants, options)


def loop_lines(ops: tuple[str, ...] = OPS, capability: int = 90) -> Iterator[str]:
    """A line of the table of main loops for each configuration of `ops` that loops.py lists."""
    for op, names in loops.listed().items():
        if op not in ops:
            continue
        found = {
            name: rest for name, *rest in importlib.import_module(f"kernels.{op}.launch").configurations(capability)
        }
        for name in names:
            compiled = _built(capability, *found[name])
            usage = _dump(compiled, "cuobjdump", "--dump-resource-usage")
            registers = max(map(int, re.findall(r"REG:(\d+)", usage)))
            sass, warps = _dump(compiled, "nvdisasm", "-c", "-ndf"), compiled.metadata.num_warps
            _, _, constants, _ = found[name]
            tile = (constants["BLOCK_M"], constants["BLOCK_N"]) if "BLOCK_M" in constants else None
            shared = compiled.metadata.shared
            yield loops.line(name, capability, sass, compiled.asm["ptx"], registers, shared, warps, tile)


def problems(kernel: Compiled) -> list[str]:
    """What is wrong with a compiled kernel, each in a few words."""
    wrong = []
    is_ieee = "ieee" in kernel.name
    if kernel.stack and not is_ieee:
        wrong.append(f"a stack of {kernel.stack} bytes")
    if kernel.shared > SHARED[kernel.capability]:
        wrong.append(f"{kernel.shared} bytes of shared memory, of {SHARED[kernel.capability]}")
    needs_tensor_cores = "tt.dot" in kernel.ttir and not is_ieee
    if needs_tensor_cores and kernel.tensor_core == "none":
        wrong.append("no tensor-core instruction")
    if needs_tensor_cores and kernel.capability == 90 and "small" not in kernel.name and kernel.tensor_core != "wgmma":
        wrong.append("no wgmma")
    if "i64" not in kernel.ttir:
        wrong.append("no 64-bit offset")
    return wrong


def _line(kernel: Compiled) -> str:
    columns = (kernel.registers, kernel.stack, kernel.shared, kernel.tensor_core, kernel.widest, kernel.instructions)
    return f"{kernel.name:52} {kernel.capability:4}" + "".join(f"{column:>10}" for column in columns)


def _report_loops(ops: tuple[str, ...], save: bool) -> int:
    lines = [loops.HEAD, "", f"triton {triton.__version__}", loops.titles()]
    print(*lines, sep="\n", flush=True)
    for line in loop_lines(ops):
        print(line, flush=True)
        lines.append(line)
    if save:
        (RESULTS / "loops.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def main() -> int:
    """Print the table; with --save keep it in bench/results/. Returns 1 if a kernel has a problem."""
    parser = argparse.ArgumentParser(prog="python -m bench.checks.compile_report", description=__doc__)
    parser.add_argument("--capability", type=int, nargs="+", default=[80, 90], help="compute capabilities times ten")
    parser.add_argument("--op", nargs="+", choices=OPS, default=OPS, help="which ops")
    parser.add_argument("--most", type=int, help="at most so many configurations of each kernel")
    parser.add_argument("--loops", action="store_true", help="instead: the main loops of a few configurations, sm_90")
    parser.add_argument("--save", action="store_true", help="write bench/results/compile.txt, or loops.txt, as well")
    args = parser.parse_args()
    if args.loops:
        return _report_loops(tuple(args.op), args.save)
    headers = ("registers", "stack B", "shared B", "matrix", "widest B", "PTX lines")
    titles = f"{'kernel':52} {'sm':>4}" + "".join(f"{header:>10}" for header in headers)
    lines = [f"triton {triton.__version__}", titles]
    print(*lines, sep="\n", flush=True)
    failed = False
    for capability in args.capability:
        for kernel in compile_all(capability, tuple(args.op), args.most):
            wrong = problems(kernel)
            failed |= bool(wrong)
            lines.append(_line(kernel) + "".join(f"  PROBLEM: {problem}" for problem in wrong))
            print(lines[-1], flush=True)
    if args.save:
        (RESULTS / "compile.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
