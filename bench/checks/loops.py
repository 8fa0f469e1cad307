"""A kernel's machine code read: what its main loop issues, what its wgmma products overlap with, how many programs fit.

Instructions are sorted by the pipe that runs them. None of it is a time: how often a loop runs, what it waits for, and
what runs beside it on the same processor are not in the code. The clocks of the busiest pipe are a bound from below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# By the beginning of an instruction's name; the first that fits.
PIPES = {
    "tensor": r"HGMMA|QGMMA|IGMMA|BGMMA|HMMA|QMMA|IMMA|DMMA|BMMA",
    "special": r"MUFU|F2I|I2F\b|I2F\.|F2F\b|F2F\.|FRND|POPC|FLO",
    "waits": r"BAR|B2R|DEPBAR|LDGDEPBAR|WARPGROUP|WARPSYNC|MEMBAR|FENCE|SYNCS|ERRBAR|ARRIVES|CCTL|NANOSLEEP|YIELD",
    "memory": r"LD|ST|ATOM|RED|SHFL|UTMA|UBLK|UTCMA|SUST|SULD",
    "float": r"F(ADD|MUL|FMA|SET|SEL|MNMX|CHK|SWZ|2FP)|H(ADD|MUL|FMA|SET|MNMX)|D(ADD|MUL|FMA|SET)",
    "integer": r"I(ADD|MAD|SETP|SCADD|ABS|MNMX|DP|2FP|2IP)|LOP|PLOP|SH[FLR]|LEA|SEL|PRMT|VI|BMSK|SGXT|MOV|P2R|R2P|CS2R",
    "uniform": r"U[A-Z]|R2UR|S2UR|VOTEU",
}
COLUMNS = (*PIPES, "other")
REGISTERS, WARPS, PROGRAMS = 65_536, {80: 64, 90: 64}, 32  # of a processor
SHARED_ALL = {80: 164 * 1024, 90: 228 * 1024}  # bytes of a processor's shared memory
SHARED_EACH = 1024  # which the driver takes of each program
PROCESSORS = 132  # an H200's
QUARTERS = 4  # of a processor, each with a tensor core, one instruction a clock and 4 special functions a clock
SPECIAL_CLOCKS = 8  # of a warp's special function
SHARED_RATE = 128  # bytes a clock of a processor's shared memory
LANE_BYTES = {".128": 16, ".64": 8}  # that a lane moves, by an instruction's modifier; else 4


@dataclass(frozen=True)
class Instruction:
    """A line of machine code: its name with modifiers, its operands, and the line that it may jump to."""

    name: str
    operands: str
    target: int | None = None

    @property
    def pipe(self) -> str:
        """The pipe that runs it, roughly."""
        return next((pipe for pipe, names in PIPES.items() if re.match(names, self.name)), "other")


def read(sass: str) -> list[Instruction]:
    """The instructions of `nvdisasm -c`, with the jumps between them."""
    labels: dict[str, int] = {}
    lines: list[tuple[str, str]] = []
    for line in sass.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = len(lines)
        elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*(?:\.\w+)*)\s*([^;]*);", line):
            lines.append((found[1], found[2].strip()))
    instructions = []
    for name, operands in lines:
        label = re.search(r"`\((\.L_\w+)\)", operands) if name.startswith("BRA") else None
        instructions.append(Instruction(name, operands, labels.get(label[1]) if label else None))
    return instructions


def _loops(code: Sequence[Instruction]) -> Iterator[Sequence[Instruction]]:
    """Innermost loops: from the line that a jump goes back to until the jump."""
    spans = {(line.target, i) for i, line in enumerate(code) if line.target is not None and line.target < i}
    for first, last in spans:
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans):
            yield code[first : last + 1]


def main_loop(code: Sequence[Instruction]) -> Sequence[Instruction] | None:
    """Of the innermost loops that with the most products, and of these the shortest, which has no masks.

    Without products, that with the most special functions, and of these the longest. None without a loop that holds
    products or a tenth of the code.
    """

    def merit(loop: Sequence[Instruction]) -> tuple[int, int, int]:
        pipes = [line.pipe for line in loop]
        products = pipes.count("tensor")
        return products, 0 if products else pipes.count("special"), -len(loop) if products else len(loop)

    best = max(_loops(code), key=merit, default=None)
    return best if best is not None and (merit(best)[0] or 10 * len(best) >= len(code)) else None


def pipes(code: Sequence[Instruction]) -> dict[str, int]:
    """How many instructions each pipe runs."""
    found = [line.pipe for line in code]
    return {pipe: found.count(pipe) for pipe in COLUMNS}


def beside_products(loop: Sequence[Instruction]) -> int | None:
    """Instructions of a turn of the loop that are issued while a wgmma product may be in flight; None without wgmma.

    A group of products is in flight from the instruction that closes it (gsb0) to one that waits until so few are left.
    """
    if not any(line.name.startswith(("HGMMA", "QGMMA", "IGMMA", "BGMMA")) for line in loop):
        return None
    flying = beside = 0
    for turn in range(2):  # the second begins with what the first left in flight
        for line in loop:
            if line.name.startswith("WARPGROUP.DEPBAR"):
                left = re.search(r"0x([0-9a-f]+)", line.operands)
                flying = min(flying, int(left[1], 16) if left else 0)
            elif line.pipe == "tensor":
                flying += "gsb0" in line.operands
            elif turn == 1 and flying and line.pipe != "waits":
                beside += 1
    return beside


def groups(loop: Sequence[Instruction]) -> int:
    """In how many groups the wgmma products of a turn are closed: as many as products if each is waited for alone."""
    return sum("gsb0" in line.operands for line in loop if line.pipe == "tensor")


def _shared_bytes(line: Instruction) -> int:
    """Bytes of shared memory that one warp's instruction moves, at least; of wgmma, a warp group's."""
    if size := re.match(r"[HQIB]GMMA\.64x(\d+)x", line.name):
        return 32 * int(size[1]) + (32 * 64 if line.operands.split(",")[1].strip().startswith("gdesc") else 0)
    if not line.name.startswith(("LDS", "STS", "LDGSTS")) or line.operands.startswith("RZ"):
        return 0
    lane = next((size for modifier, size in LANE_BYTES.items() if modifier in line.name), 4)
    return 32 * lane if lane == 16 and line.name.startswith("LDGSTS") else SHARED_RATE  # lanes may share an address


def clocks(loop: Sequence[Instruction], warps: int) -> dict[str, float]:
    """Clocks that a processor's pipes need at least for a turn of a program's loop of wgmma products."""
    products = [int(size[1]) for line in loop if (size := re.match(r"[HQIB]GMMA\.64x(\d+)x", line.name))]
    a_warp = sum(_shared_bytes(line) for line in loop if line.pipe != "tensor")
    a_group = sum(_shared_bytes(line) for line in loop if line.pipe == "tensor")
    return {
        "tensor": sum(products) / 2 * warps / QUARTERS,
        "special": SPECIAL_CLOCKS * pipes(loop)["special"] * warps / QUARTERS,
        "issue": len(loop) * warps / QUARTERS,
        "shared": (a_warp * warps + a_group * warps / QUARTERS) / SHARED_RATE,
    }


def bound(loop: Sequence[Instruction], warps: int, tile: tuple[int, int], copied: int = 0) -> tuple[int, str, str]:
    """For 128 x 128 similarities: the busiest pipe's clocks, its name, and the tensor cores' share of them.

    tile: the similarities of a turn; copied: bytes that TMA copies to shared memory in a turn.
    """
    needed = clocks(loop, warps)
    needed["shared"] += copied / SHARED_RATE
    busiest = max(needed, key=needed.__getitem__)
    turns = 128 * 128 / (tile[0] * tile[1])
    return round(needed[busiest] * turns), busiest, f"{needed['tensor'] / needed[busiest]:.0%}"


def waits(ptx: str) -> str:
    """The counts of `wgmma.wait_group` in PTX, in order: above 0, products may go on while others are waited for."""
    return ",".join(re.findall(r"wgmma\.wait_group\.sync\.aligned\s+(\d+)", ptx)) or "-"


def programs(capability: int, registers: int, shared: int, warps: int) -> dict[str, int]:
    """How many programs a processor holds at a time, by what each takes of it."""
    a_warp = 32 * (-(-registers // 8) * 8)
    resident = 4 * (REGISTERS // 4 // a_warp)  # each quarter of a processor has its own registers
    taken = -(-(shared + SHARED_EACH) // 128) * 128
    return {
        "registers": resident // warps,
        "shared": min(PROGRAMS, SHARED_ALL[capability] // taken),
        "warps": min(PROGRAMS, WARPS[capability] // warps),
    }


def large_names(count: int, precision: str, D: int = 128) -> list[str]:
    """NT-Xent's configurations that an H200 runs for so many images, as `kernels.nt_xent` names them."""
    import triton

    from kernels.nt_xent import tiles

    if precision != "ieee" and (tiles.padded_anchors(2 * count), D) in tiles.SMALL_TILES:
        return [f"small {precision} fp32 {D} V={tiles.padded_anchors(2 * count)}"]
    names = []
    for kernel, kinds in (("lse", tiles.LSE_TILES), ("grad", tiles.GRAD_TILES)):
        tile = tiles.large_tile(kinds, precision, D, 90, 2 * triton.cdiv(count, 128), PROCESSORS)
        split = tiles.splits(2 * triton.cdiv(count, tile.m), triton.cdiv(2 * count, tile.n), PROCESSORS * tile.resident)
        names.append(f"{kernel} {precision} {D} fixed shift{' split' * (split > 1)} {tile.m}x{tile.n}")
        names += [f"sum {precision} {D} of {split}"] * (kernel == "grad" and split > 1)
    return names


def listed() -> dict[str, list[str]]:
    """The configurations of the table, by op."""
    counts = (64, 1024, 4096, 16_384)
    nt_xent = ["normalise tf32 fp32 128", *(name for count in counts for name in large_names(count, "tf32"))]
    nt_xent += [name for count in counts[-1:] for name in large_names(count, "bf16")]
    sizes = ("64x10", "4096x1000", "1000000x128")
    gumbel = [f"gumbel forward {size} shared fp32" for size in sizes] + [
        f"gumbel backward {size} shared" for size in sizes
    ]
    return {"gumbel_softmax": [*gumbel, "gumbel backward, sum of programs"], "nt_xent": list(dict.fromkeys(nt_xent))}


HEAD = """What the compiler made of the kernels' main loops, for sm_90: figures of its code, no times.

Each row is a configuration that an H200 runs for N = 64, 1,024, 4,096 or 16,384 of D = 128, or for a size of
Gumbel-Softmax (4096x128 is as 1000000x128). code: instructions of the kernel; turn: of one turn of its main loop, and
of these by the pipe that runs them: tensor (HGMMA, HMMA), special (MUFU: exponentials, logarithms, reciprocals; and
conversions), waits (and barriers), memory (LDG, LDS, LDSM, STS, SHFL, ...), float, integer, uniform (a warp's own),
other. The main loop is the innermost one with the most products, and of these the shortest, which has no masks; without
products the one with the most special instructions. whole: no loop with products or a tenth of the code, so all of it.
wait: counts of wgmma.wait_group in the whole PTX. beside: instructions of a turn that are issued while a wgmma product
may be in flight. groups: in which a turn's wgmma products are closed; as many as products, and the assembler has them
wait for each other. programs: those that a processor holds, the least of what registers, shared memory and warps allow.
clocks: the least that a processor needs for 128 x 128 similarities, by the busiest of four pipes: tensor (64 x n x 16
in n / 2), special (16 a clock), issue (4 instructions a clock), shared (128 bytes a clock: operands of wgmma, copies).
peak: the tensor cores' share of these clocks. An estimate from below; what programs wait for is not in it."""


def titles() -> str:
    """The table's first line."""
    sides = ("turn", *COLUMNS, "wait", "beside", "groups", "programs", "by reg.", "shared", "warps")
    sides += ("clocks", "busiest", "peak")
    return f"{'kernel':44}{'code':>6}" + "".join(f"{side:>9}" for side in sides)


def line(
    name: str,
    capability: int,
    sass: str,
    ptx: str,
    registers: int,
    shared: int,
    warps: int,
    tile: tuple[int, int] | None = None,
    copied: int = 0,
) -> str:
    """A configuration's line of the table; tile and copied: see `bound`."""
    code = read(sass)
    loop = main_loop(code)
    turn = code if loop is None else loop
    beside = None if loop is None else beside_products(turn)
    fits = programs(capability, registers, shared, warps)
    figures: list[Any] = ["whole" if loop is None else len(turn), *pipes(turn).values(), waits(ptx)]
    figures += ["-", "-"] if beside is None else [beside, groups(turn)]
    figures += [min(fits.values()), *fits.values()]
    figures += ["-"] * 3 if beside is None or tile is None else bound(turn, warps, tile, copied)
    return f"{name:44}{len(code):6}" + "".join(f"{figure:>9}" for figure in figures)
