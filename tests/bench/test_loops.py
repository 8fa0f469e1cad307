"""Machine code is read as it stands: its loops, pipes, products in flight, and how many programs fit."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.checks import loops

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
# Lines that nvdisasm printed for nt_xent_bwd_kernel, most left out: a loop with masks, one without, the padding.
SASS = """
	.section	.text.nt_xent_bwd_kernel,"ax",@progbits
.text.nt_xent_bwd_kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0ec0*/               @P0 BRA `(.L_x_0) ;
.L_x_1:
        /*14b0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*14c0*/                   ISETP.GE.AND P1, PT, R35, R38, PT ;
        /*14d0*/               @P1 IADD3 R4, R4, 0x1, RZ ;
        /*2320*/                   HGMMA.64x64x16.F32 R24, gdesc[UR12], RZ, !UPT, gsb0 ;
        /*23b0*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
        /*23c0*/                   HGMMA.64x64x16.F32 R56, R24, gdesc[UR12].tnspB, R56, gsb0 ;
        /*23d0*/                   FSEL R24, R24, -INF , P1 ;
        /*23e0*/                   FSEL R25, R25, -INF , P1 ;
        /*23f0*/                   FSEL R26, R26, -INF , P1 ;
        /*2400*/                   FSEL R27, R27, -INF , P1 ;
        /*2410*/                   FSEL R28, R28, -INF , P1 ;
        /*2420*/                   FSEL R29, R29, -INF , P1 ;
        /*4450*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
        /*4460*/               @P0 BRA `(.L_x_1) ;
.L_x_0:
.L_x_3:
        /*4ce0*/                   DEPBAR.LE SB0, 0x2 ;
        /*4cf0*/                   LDS R12, [R13] ;
        /*5030*/                   WARPGROUP.ARRIVE ;
        /*5040*/                   HGMMA.64x64x16.F32 R24, gdesc[UR16], R24, gsb0 ;
        /*5050*/                   UIADD3 UR4, UR4, 0x1, URZ ;
        /*50b0*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
        /*50c0*/                   FFMA.FTZ R24, R24, R3, -R9 ;
        /*50d0*/              @!P2 MUFU.EX2 R24, R24 ;
        /*50e0*/                   F2FP.BF16.F32.PACK_AB R100, R25, R24 ;
        /*5a50*/                   HGMMA.64x64x16.F32 R56, R88, gdesc[UR8].tnspB, R56, gsb0 ;
        /*5b00*/                   LDGDEPBAR ;
        /*5bd0*/                   IADD3 R2, R2, 0x40, RZ ;
        /*5be0*/               @P1 BRA `(.L_x_3) ;
.L_x_2:
        /*7b30*/                   EXIT ;
.L_x_4:
        /*7b40*/                   BRA `(.L_x_4);
        /*7b50*/                   NOP;
"""


def test_the_main_loop_is_the_one_without_masks() -> None:
    code = loops.read(SASS)
    assert len(code) == 32 and code[0].name == "LDC" and code[-1].name == "NOP"
    loop = loops.main_loop(code)
    assert loop is not None and loop[0].name == "DEPBAR.LE" and loop[-1].name == "BRA" and len(loop) == 13
    assert loops.pipes(loop) == {
        "tensor": 2,
        "special": 1,
        "waits": 4,
        "memory": 1,
        "float": 2,
        "integer": 1,
        "uniform": 1,
        "other": 1,
    }


def test_what_is_beside_products_is_counted_over_the_loops_end() -> None:
    """LDS, IADD3 and BRA by the product that the turn before left in flight, UIADD3 by the one of this turn."""
    loop = loops.main_loop(loops.read(SASS))
    assert loop is not None and loops.beside_products(loop) == 4
    waiting = loops.read(SASS.replace("LDGDEPBAR ;", "WARPGROUP.DEPBAR.LE gsb0, 0x0 ;"))
    loop = loops.main_loop(waiting)
    assert loop is not None and loops.beside_products(loop) == 1
    assert loops.beside_products(loops.read("/*0000*/ FADD R1, R1, R2 ;")) is None


def test_the_busiest_pipe_bounds_the_clocks() -> None:
    """Two products of 32 clocks a warp group; 4 KB and 2 KB of operands, and 128 bytes that each warp reads."""
    loop = loops.main_loop(loops.read(SASS))
    assert loop is not None and loops.groups(loop) == 2
    assert loops.clocks(loop, 4) == {"tensor": 64, "special": 8, "issue": 13, "shared": 52}
    assert loops.clocks(loop, 8) == {"tensor": 128, "special": 16, "issue": 26, "shared": 104}
    assert loops.bound(loop, 4, (64, 64)) == (256, "tensor", "100%")
    # 512 bytes of each warp, and a read that a predicate has switched off
    copies = "/*00*/ LDGSTS.E.BYPASS.128 [R2], desc[UR4][R4.64] ;\n/*10*/ LDS RZ, [RZ] ;"
    longer = [*loop, *loops.read(copies)]
    assert loops.clocks(longer, 4)["shared"] == 52 + 16
    assert loops.bound(longer, 4, (128, 64)) == (136, "shared", "94%")
    assert loops.bound(loop, 4, (64, 64), copied=2048) == (272, "shared", "94%")


def test_without_loops_all_is_counted() -> None:
    sass = "        /*0000*/                   FADD R1, R1, R2 ;\n        /*0010*/                   EXIT ;\n"
    assert loops.main_loop(loops.read(sass)) is None
    assert loops.line("name", 90, sass, "", 32, 0, 4).split()[:4] == ["name", "2", "whole", "0"]


def test_waits_are_those_of_ptx() -> None:
    assert loops.waits("\twgmma.wait_group.sync.aligned \t0;\n\twgmma.wait_group.sync.aligned 1;\n") == "0,1"
    assert loops.waits("mma.sync") == "-"


@pytest.mark.parametrize(
    ("registers", "shared", "warps", "expected"),
    [
        (128, 0, 8, (2, 32, 8)),
        (129, 0, 8, (1, 32, 8)),  # 136 a thread: three warps a quarter of the processor
        (32, 100 * 1024, 4, (16, 2, 16)),
        (16, 0, 1, (128, 32, 32)),
    ],
)
def test_programs_are_what_a_processor_holds(
    registers: int, shared: int, warps: int, expected: tuple[int, int, int]
) -> None:
    assert tuple(loops.programs(90, registers, shared, warps).values()) == expected


@needs_triton
def test_what_is_listed_can_be_launched() -> None:
    for op, names in loops.listed().items():
        known = {name for name, *_ in import_module(f"kernels.{op}.launch").configurations(90)}
        assert set(names) <= known, set(names) - known
        assert len(set(names)) == len(names) >= 7


@needs_triton
def test_loops_of_compiled_kernels() -> None:
    """In a process without the interpreter, which compiles nothing."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "bench.checks.compile_report", "--loops", "--op", "gumbel_softmax"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, figures = done.stdout.split(loops.titles())
    assert "no times" in said
    lines = {line[:44].rstrip(): line[44:].split() for line in figures.strip().splitlines()}
    assert list(lines) == loops.listed()["gumbel_softmax"]
    for _, turn, *pipes in lines.values():
        assert int(turn) == sum(map(int, pipes[:8])) and int(pipes[11]) > 0 and pipes[-3:] == ["-"] * 3
