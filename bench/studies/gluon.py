"""NT-Xent's main loops in Gluon, compiled for sm_90 beside the Triton kernels': what the compiler makes of each.

    python -m bench.studies.gluon [--save]

Gluon (triton.experimental.gluon) states what Triton's compiler decides: layouts, TMA copies, and when a warp group
waits for a product. The candidates are whole loops over column tiles, for bfloat16 of D = 128 with a fixed shift. They
have never run, no op calls them, and nothing here interprets Gluon. All but "masks" lack what the few tiles with
anchors, positives and the end of the columns need. The table is that of bench/checks/loops.py, with two columns more.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma, warpgroup_mma, warpgroup_mma_wait

from bench.checks import compile_report, loops
from kernels.nt_xent.launch import configurations

RESULTS = Path(__file__).parents[1] / "results"
D = 128
TRITON = ("lse bf16 128 fixed shift 128x64", "grad bf16 128 fixed shift 64x64")


class Candidate(NamedTuple):
    """A kernel with its tile, warps, tiles of the ring, most registers, and flags."""

    name: str
    m: int
    n: int
    warps: int
    stages: int
    registers: int | None
    tiles: int
    """Column tiles of a turn of the loop."""
    flags: dict[str, Any]


IN_TURN, CARRIED, FOUR = range(3)
CANDIDATES = (
    Candidate("lse", 128, 64, 8, 3, None, 1, {"SCHEDULE": IN_TURN, "A_REGISTERS": False}),
    Candidate("lse, A in registers", 128, 64, 8, 3, None, 1, {"SCHEDULE": IN_TURN, "A_REGISTERS": True}),
    Candidate("lse", 128, 128, 8, 2, None, 1, {"SCHEDULE": IN_TURN, "A_REGISTERS": False}),
    Candidate("lse, product over the turn", 128, 64, 8, 3, None, 2, {"SCHEDULE": CARRIED, "A_REGISTERS": False}),
    Candidate("lse, four tiles", 128, 64, 8, 3, None, 4, {"SCHEDULE": FOUR, "A_REGISTERS": False}),
    Candidate("lse, four tiles, A in registers", 128, 64, 8, 3, None, 4, {"SCHEDULE": FOUR, "A_REGISTERS": True}),
    Candidate("grad", 64, 64, 4, 3, None, 1, {"PAIRS": False, "MASKS": False}),
    Candidate("grad", 128, 64, 8, 3, None, 1, {"PAIRS": False, "MASKS": False}),
    Candidate("grad, two tiles", 128, 64, 8, 4, None, 2, {"PAIRS": True, "MASKS": False}),
    Candidate("grad, masks", 128, 64, 8, 3, None, 1, {"PAIRS": False, "MASKS": True}),
    Candidate("grad, masks, 128 registers", 128, 64, 8, 3, 128, 1, {"PAIRS": False, "MASKS": True}),
)


@gluon.jit
def prepare(desc_a, ring, bars, first, BM: gl.constexpr, BD: gl.constexpr, STAGES: gl.constexpr):
    """The anchors in shared memory, once their copy has arrived."""
    a = gl.allocate_shared_memory(desc_a.dtype, [BM, BD], desc_a.layout)
    bar = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(bar, count=1)
    for slot in gl.static_range(STAGES):
        mbarrier.init(bars.index(slot), count=1)
    mbarrier.expect(bar, desc_a.block_type.nbytes)
    tma.async_copy_global_to_shared(desc_a, [first, 0], bar, a)
    mbarrier.wait(bar, 0)
    return a


@gluon.jit
def copy(desc, bars, ring, tile, k, total, BN: gl.constexpr, STAGES: gl.constexpr):
    """Begin to copy column tile `tile` into the ring, as the k-th of the loop."""
    bar = bars.index(k % STAGES)
    mbarrier.expect(bar, desc.block_type.nbytes, k < total)
    tma.async_copy_global_to_shared(desc, [tile * BN, 0], bar, ring.index(k % STAGES), k < total)


@gluon.jit
def begin_product(a, bars, ring, k, b_zero, STAGES: gl.constexpr):
    """Begin the similarities with the k-th column tile."""
    mbarrier.wait(bars.index(k % STAGES), k // STAGES & 1)
    return warpgroup_mma(a, ring.index(k % STAGES).permute((1, 0)), b_zero, use_acc=False, is_async=True)


@gluon.jit
def plain_tile(k, lo, lo_end, hi, hi_end):
    """As triton_kernel.plain_tile."""
    tile = k + gl.where(k >= lo, lo_end - lo, 0)
    return tile + gl.where(tile >= hi, hi_end - hi, 0)


@gluon.jit
def add(b_sum, b_s, scale):
    """Add a tile of similarities to the rows' sums."""
    return b_sum + gl.sum(gl.exp2(b_s * scale - scale), axis=1)


@gluon.jit
def lse(
    desc_a,
    desc_u,
    p_out,
    scale,
    total,
    lo,
    lo_end,
    hi,
    hi_end,
    BM: gl.constexpr,
    BN: gl.constexpr,
    BD: gl.constexpr,
    STAGES: gl.constexpr,
    WARPS: gl.constexpr,
    SCHEDULE: gl.constexpr,
    A_REGISTERS: gl.constexpr,
):
    """Sums of exponentials. `total` is a multiple of the tiles of a turn."""
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [WARPS, 1], [16, BN, 16])
    first = gl.program_id(0) * BM
    ring = gl.allocate_shared_memory(desc_u.dtype, [STAGES, BN, BD], desc_u.layout)
    bars = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    a = prepare(desc_a, ring, bars, first, BM, BD, STAGES)
    if A_REGISTERS:
        a = a.load(gl.DotOperandLayout(0, layout, 2))
    for s in gl.static_range(STAGES):
        copy(desc_u, bars, ring, plain_tile(s, lo, lo_end, hi, hi_end), s, total, BN, STAGES)
    b_zero = gl.zeros((BM, BN), gl.float32, layout)
    b_sum = gl.zeros((BM,), gl.float32, gl.SliceLayout(1, layout))
    if SCHEDULE == 0:  # exponentials after the product
        for k in range(total):
            b_s = warpgroup_mma_wait(0, (begin_product(a, bars, ring, k, b_zero, STAGES),))
            copy(desc_u, bars, ring, plain_tile(k + STAGES, lo, lo_end, hi, hi_end), k + STAGES, total, BN, STAGES)
            b_sum = add(b_sum, b_s, scale)
    elif SCHEDULE == 1:  # beside the next product, which may be the next turn's
        s_0 = begin_product(a, bars, ring, 0, b_zero, STAGES)
        for k in range(0, total, 2):
            s_1 = begin_product(a, bars, ring, k + 1, b_zero, STAGES)
            b_s = warpgroup_mma_wait(1, (s_0,))
            copy(desc_u, bars, ring, plain_tile(k + STAGES, lo, lo_end, hi, hi_end), k + STAGES, total, BN, STAGES)
            b_sum = add(b_sum, b_s, scale)
            s_0 = begin_product(a, bars, ring, gl.minimum(k + 2, total - 1), b_zero, STAGES)
            b_s = warpgroup_mma_wait(1, (s_1,))
            i_next = k + 1 + STAGES
            copy(desc_u, bars, ring, plain_tile(i_next, lo, lo_end, hi, hi_end), i_next, total, BN, STAGES)
            b_sum = add(b_sum, b_s, scale)
        warpgroup_mma_wait(0, (s_0,))
    else:  # beside the next product of the same turn
        for k in range(0, total, 4):
            s_0 = begin_product(a, bars, ring, k, b_zero, STAGES)
            for i in gl.static_range(4):
                if i < 3:
                    s_1 = begin_product(a, bars, ring, k + i + 1, b_zero, STAGES)
                b_s, b_sum = warpgroup_mma_wait(1 if i < 3 else 0, (s_0, b_sum))
                i_next = k + i + STAGES
                copy(desc_u, bars, ring, plain_tile(i_next, lo, lo_end, hi, hi_end), i_next, total, BN, STAGES)
                b_sum = add(b_sum, b_s, scale)
                if i < 3:
                    s_0 = s_1
    gl.store(p_out + first + gl.arange(0, BM, layout=gl.SliceLayout(1, layout)), b_sum)


@gluon.jit
def weights(b_s, b_i, b_j, scale):
    """As triton_kernel.pair_weights with a fixed shift."""
    return gl.exp2(b_s * scale - (scale - 14.0)) * (b_i[:, None] + b_j[None, :])


@gluon.jit
def add_weighted(b_w, bars, ring, k, b_grad, dtype: gl.constexpr, STAGES: gl.constexpr):
    """Begin to add weights times the k-th column tile to the gradient."""
    operand: gl.constexpr = gl.DotOperandLayout(0, b_grad.type.layout, 2)
    b_w = gl.convert_layout(b_w.to(dtype), operand)
    return warpgroup_mma(b_w, ring.index(k % STAGES), b_grad, is_async=True)


@gluon.jit
def grad(
    desc_a,
    desc_u,
    p_out,
    p_unit,
    p_weight,
    scale,
    N,
    first_positive,
    special,
    total,
    lo,
    lo_end,
    hi,
    hi_end,
    BM: gl.constexpr,
    BN: gl.constexpr,
    BD: gl.constexpr,
    STAGES: gl.constexpr,
    WARPS: gl.constexpr,
    PAIRS: gl.constexpr,
    MASKS: gl.constexpr,
):
    """2^14 times the sum over columns of weights and embeddings, without and with the tiles that need masks."""
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [WARPS, 1], [16, BN, 16])
    out: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [WARPS, 1], [16, BD, 16])
    dtype: gl.constexpr = desc_u.dtype
    first = gl.program_id(0) * BM
    ring = gl.allocate_shared_memory(desc_u.dtype, [STAGES, BN, BD], desc_u.layout)
    bars = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    a = prepare(desc_a, ring, bars, first, BM, BD, STAGES)
    for s in gl.static_range(STAGES):
        copy(desc_u, bars, ring, plain_tile(s, lo, lo_end, hi, hi_end), s, total, BN, STAGES)
    i_row = gl.arange(0, BM, layout=gl.SliceLayout(1, layout))
    i_column = gl.arange(0, BN, layout=gl.SliceLayout(0, layout))
    b_i = gl.load(p_weight + first + i_row)
    b_zero = gl.zeros((BM, BN), gl.float32, layout)
    b_grad = gl.zeros((BM, BD), gl.float32, out)
    b_w_positive = gl.zeros((BM,), gl.float32, gl.SliceLayout(1, layout))
    if MASKS:
        for k in range(special):
            i_j = plain_tile(k, lo, lo_end, hi, hi_end) * BN + i_column
            b_j = gl.load(p_weight + i_j, mask=i_j < 2 * N, other=0.0)
            b_s = warpgroup_mma_wait(0, (begin_product(a, bars, ring, k, b_zero, STAGES),))
            b_w = weights(b_s, b_i, b_j, scale)
            m_positive = i_j[None, :] - i_row[:, None] == first_positive
            b_w_positive += gl.sum(gl.where(m_positive, b_w - 32768.0, 0.0), axis=1)
            m_other = (i_j[None, :] - i_row[:, None] != first) & (i_j < 2 * N)[None, :]
            b_w = gl.where(m_other & (m_positive == 0), b_w, 0.0)
            b_grad = warpgroup_mma_wait(0, (add_weighted(b_w, bars, ring, k, b_grad, dtype, STAGES),))
            copy(desc_u, bars, ring, plain_tile(k + STAGES, lo, lo_end, hi, hi_end), k + STAGES, total, BN, STAGES)
    if PAIRS:  # the weights of each tile beside a product
        for k in range(0, total, 2):
            s_0 = begin_product(a, bars, ring, k, b_zero, STAGES)
            s_1 = begin_product(a, bars, ring, k + 1, b_zero, STAGES)
            b_j = gl.load(p_weight + plain_tile(k, lo, lo_end, hi, hi_end) * BN + i_column)
            b_w = weights(warpgroup_mma_wait(1, (s_0,)), b_i, b_j, scale)
            g_0 = add_weighted(b_w, bars, ring, k, b_grad, dtype, STAGES)
            b_j = gl.load(p_weight + plain_tile(k + 1, lo, lo_end, hi, hi_end) * BN + i_column)
            b_w = weights(warpgroup_mma_wait(1, (s_1,)), b_i, b_j, scale)
            b_grad, b_w = warpgroup_mma_wait(0, (g_0, b_w))
            b_grad = warpgroup_mma_wait(0, (add_weighted(b_w, bars, ring, k + 1, b_grad, dtype, STAGES),))
            for i in gl.static_range(2):
                i_next = k + i + STAGES
                copy(desc_u, bars, ring, plain_tile(i_next, lo, lo_end, hi, hi_end), i_next, total, BN, STAGES)
    else:
        for k in range(special if MASKS else 0, total):
            b_j = gl.load(p_weight + plain_tile(k, lo, lo_end, hi, hi_end) * BN + i_column)
            b_s = warpgroup_mma_wait(0, (begin_product(a, bars, ring, k, b_zero, STAGES),))
            b_w = weights(b_s, b_i, b_j, scale)
            b_grad = warpgroup_mma_wait(0, (add_weighted(b_w, bars, ring, k, b_grad, dtype, STAGES),))
            copy(desc_u, bars, ring, plain_tile(k + STAGES, lo, lo_end, hi, hi_end), k + STAGES, total, BN, STAGES)
    i_g = gl.arange(0, BM, layout=gl.SliceLayout(1, out))[:, None] * BD
    i_g += gl.arange(0, BD, layout=gl.SliceLayout(0, out))[None, :]
    if MASKS:
        b_u = gl.load(p_unit + first_positive.to(gl.int64) * BD + i_g).to(gl.float32)
        b_grad += gl.convert_layout(b_w_positive, gl.SliceLayout(1, out))[:, None] * b_u
    gl.store(p_out + first.to(gl.int64) * BD + i_g, b_grad)


def build(candidate: Candidate) -> Any:
    """What the compiler makes of a candidate for sm_90."""
    kernel = lse if candidate.name.startswith("lse") else grad
    descriptors = {}
    for name, rows in (("desc_a", candidate.m), ("desc_u", candidate.n)):
        shared = gl.NVMMASharedLayout.get_default_for([rows, D], gl.bfloat16)
        descriptors[name] = f"tensordesc<bf16[{rows}, {D}],{shared!r}>"
    constants = {"BM": candidate.m, "BN": candidate.n, "BD": D, "STAGES": candidate.stages, "WARPS": candidate.warps}
    constants |= candidate.flags
    pointers = {"p_out": "*fp32", "p_unit": "*bf16", "p_weight": "*fp32"}
    known = descriptors | pointers | {"scale": "fp32"} | dict.fromkeys(constants, "constexpr")
    signature = {name: known.get(name, "i32") for name in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name in pointers}
    source = GluonASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": candidate.warps}
    if candidate.registers is not None:
        options["maxnreg"] = candidate.registers
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def _line(name: str, compiled: Any, tile: tuple[int, int], copied: int = 0) -> str:
    usage = compile_report._dump(compiled, "cuobjdump", "--dump-resource-usage")
    registers, stack = (max(map(int, re.findall(rf"{what}:(\d+)", usage))) for what in ("REG", "STACK"))
    sass, warps = compile_report._dump(compiled, "nvdisasm", "-c", "-ndf"), compiled.metadata.num_warps
    line = loops.line(name, 90, sass, compiled.asm["ptx"], registers, compiled.metadata.shared, warps, tile, copied)
    return f"{line}{registers:>9}{stack:>9}"


def lines() -> Iterator[str]:
    """A line for each of TRITON's kernels and each candidate."""
    found = {name: rest for name, *rest in configurations(90)}
    for name in TRITON:
        tile = (found[name][2]["BLOCK_M"], found[name][2]["BLOCK_N"])
        yield _line(f"triton {name}", compile_report._built(90, *found[name]), tile)
    for candidate in CANDIDATES:
        name = f"{candidate.name} {candidate.m}x{candidate.n} w{candidate.warps}"
        columns = candidate.n * candidate.tiles
        yield _line(name, build(candidate), (candidate.m, columns), copied=2 * D * columns)


def main() -> int:
    """Print the table; with --save keep it in bench/results/gluon.txt."""
    parser = argparse.ArgumentParser(prog="python -m bench.studies.gluon", description=__doc__)
    parser.add_argument("--save", action="store_true", help="write bench/results/gluon.txt as well")
    args = parser.parse_args()
    head = [__doc__.partition("\n")[0], f"triton {triton.__version__}; columns as in loops.txt", ""]
    table = [*head, f"{loops.titles()}{'regs':>9}{'stack B':>9}"]
    print(*table, sep="\n", flush=True)
    for line in lines():
        print(line, flush=True)
        table.append(line)
    if args.save:
        (RESULTS / "gluon.txt").write_text("\n".join(table) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
