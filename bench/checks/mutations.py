"""Break each kernel on purpose, a line at a time: some test must fail. `python -m bench.checks.mutations [--save]`.

Works on a copy of the tree. Each line of the table: what was broken, and the first test that noticed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
PARTS = ("fastgan", "kernels", "tests", "bench", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    """`old` stands once in kernels/`file`; with `new` in its place a test of `tests` must fail."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


GUMBEL = ("test_gumbel_softmax.py", "test_gumbel_softmax_triton.py")
NORMAL = ("test_normal.py",)
NT_XENT = ("test_nt_xent_triton.py", "test_nt_xent_rounding.py", "test_nt_xent.py")
NT_XENT_PARTS = ("test_nt_xent_parts.py",)
ADAM = ("test_adam_triton.py", "test_adam.py", "test_adam_averages.py", "test_adam_gradients.py")
G, S = "gumbel_softmax/triton_kernel.py", "philox/triton_kernel.py"
X, Y, A = "nt_xent/triton_kernel.py", "nt_xent/small_kernel.py", "adam/triton_kernel.py"
B = "nt_xent/backward_kernel.py"
MUTATIONS = (
    Mutation("noise: the offset is ignored", S, "(offset & 0xFFFFFFFF)", "0", GUMBEL),
    Mutation("noise: high bits of the row are lost", S, "((block >> 32) & 0xFFFFFFFF)", "zero", NORMAL),
    Mutation(
        "noise: words in another order",
        S,
        "tl.join(tl.join(a, c), tl.join(b, d))",
        "tl.join(tl.join(a, b), tl.join(c, d))",
        GUMBEL,
    ),
    Mutation(
        "noise: both streams the same",
        S,
        "philox_quads(seed, offset, block, 1)",
        "philox_quads(seed, offset, block, 0)",
        NORMAL,
    ),
    Mutation(
        "noise: the winning tail is cut off",
        S,
        "SMALLEST = tl.constexpr(2.0**-33)",
        "SMALLEST = tl.constexpr(2.0**-20)",
        NORMAL,
    ),
    Mutation(
        "noise: no polynomial where a logarithm is near 0",
        S,
        "tl.where(y < POLYNOMIAL_BELOW, near_one,",
        "tl.where(y < 0.0, near_one,",
        ("test_approximate.py",),
    ),
    Mutation("normal: sine of the wrong sign", S, "tl.where(x < 0.0, -near, near)", "near", NORMAL),
    Mutation(
        "gumbel: row_start is ignored",
        G,
        "i_row = i_b + first\n",
        "i_row = i_b\n",
        GUMBEL,
    ),
    Mutation("gumbel: no 1/T in the sample", G, "(b_x - b_max) * inv_temp", "b_x - b_max", GUMBEL),
    Mutation(
        "gumbel: no 1/T in the gradient",
        G,
        "tl.sum(b_total, axis=0)[None, :, :] * inv_temp",
        "tl.sum(b_total, axis=0)[None, :, :]",
        GUMBEL,
    ),
    Mutation(
        "gumbel: <s, g> left out of the gradient",
        G,
        "b_d = b_s * (b_g - _row_sum(b_s * b_g))",
        "b_d = b_s * b_g",
        GUMBEL,
    ),
    Mutation(
        "gumbel: a tie goes to the highest index",
        G,
        "tl.min(tl.min(tl.where(b_x == b_max, i_k, K), axis=1), axis=1)",
        "tl.max(tl.max(tl.where(b_x == b_max, i_k, -1), axis=1), axis=1)",
        GUMBEL,
    ),
    Mutation(
        "gumbel: largest logit not taken off",
        G,
        "stride_lk) - b_max_logit) * LOG2_E",
        "stride_lk) - 0.0 * b_max_logit) * LOG2_E",
        GUMBEL,
    ),
    Mutation(
        "gumbel: looped sum not rescaled",
        G,
        "b_sum = b_sum * _weights(b_max, b_new_max, inv_temp)",
        "b_sum = b_sum * 1.0",
        GUMBEL,
    ),
    Mutation(
        "gumbel: partial sums of some programs lost",
        G,
        "for first in range(0, P, BLOCK_P):",
        "for first in range(0, 1):",
        GUMBEL[1:],
    ),
    Mutation("gumbel: sum of one tile of a program's", G, "b_total += b_d", "b_total = b_d", GUMBEL[1:]),
    Mutation(
        "gumbel: inf counts where the probability is 0",
        G,
        "tl.where(b_s == 0.0, 0.0, b_g)",
        "b_g",
        ("test_gumbel_softmax_arguments.py",),
    ),
    Mutation(
        "gumbel: seeds read as if they were contiguous",
        "gumbel_softmax/launch.py",
        "counter.stride(0) if counter.numel() > 1 else 0",
        "int(counter.numel() > 1)",
        ("test_gumbel_softmax_arguments.py",),
    ),
    Mutation("gumbel: a NaN is not carried into a hard sample", G, " + 0.0 * b_s\n", "\n", GUMBEL),
    Mutation(
        "gumbel: bad temperature tensor not caught",
        "triton_arguments.py",
        'tl.where(valid, value, float("nan"))',
        "value",
        GUMBEL,
    ),
    Mutation(
        "nt_xent: self-mask off in the loss",
        X,
        "b_s = tl.where(m_other & (i_j < 2 * N)[None, :], b_s",
        "b_s = tl.where((i_j < 2 * N)[None, :], b_s",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: self-mask off in the gradient",
        B,
        "b_w = tl.where(m_other & m_j[None, :] & (m_positive == 0), b_w",
        "b_w = tl.where(m_j[None, :] & (m_positive == 0), b_w",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: positive off by one",
        B,
        "load_rows(p_unit + first_d, first_positive, m_row",
        "load_rows(p_unit + first_d, 1 + first_positive, m_row",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: no 1/T in the gradient", B, "factor = inv_temp / (2.0 * N)", "factor = 1.0 / (2.0 * N)", NT_XENT
    ),
    Mutation(
        "nt_xent: what points along the embedding stays",
        X,
        "return (b_grad - b_projection[:, None] * b_unit)",
        "return (b_grad - 0.0 * b_projection[:, None] * b_unit)",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: row_start is ignored, forward",
        X,
        "first_anchor = i_view * N + row_start + i_tile * BLOCK_M",
        "first_anchor = i_view * N + i_tile * BLOCK_M",
        NT_XENT_PARTS,
    ),
    Mutation(
        "nt_xent: row_start is ignored, gradient",
        B,
        "first_anchor = i_view * N + row_start + i_tile * BLOCK_M",
        "first_anchor = i_view * N + i_tile * BLOCK_M",
        NT_XENT_PARTS,
    ),
    Mutation(
        "nt_xent: P_ji left out, fixed shift",
        X,
        "* (b_i + b_j)",
        "* (b_i * 2.0)",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: P_ji left out, running maximum",
        X,
        "return tl.exp2(b_i) + tl.exp2(b_j)",
        "return tl.exp2(b_i) * 2.0",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: sum not rescaled",
        X,
        "b_sum * tl.exp2(b_max - b_new_max) + tl.sum(",
        "b_sum + tl.sum(",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: sums of splits not rescaled",
        X,
        "b_sum * tl.exp2(b_max - b_new_max) + tl.exp2(b_part",
        "b_sum + tl.exp2(b_part",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: one split's sum lost",
        X,
        "for s in range(splits):\n        b_part",
        "for s in range(splits - 1):\n        b_part",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: one split's gradient lost",
        B,
        "tl.static_range(SPLITS)",
        "tl.static_range(SPLITS - 1)",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: tiles with masks in the main loop as well",
        X,
        "tile = k + tl.where(k >= lo, lo_end - lo, 0)",
        "tile = k",
        NT_XENT,
    ),
    Mutation(
        "nt_xent: the last tile of columns left out", X, "tile >= hi_end, tail - hi_end, 0", "tile < 0, 0, 0", NT_XENT
    ),
    Mutation(
        "nt_xent: weights of float16 too small to be normal",
        X,
        "tl.constexpr(14.0)\nWEIGHT_ONE: tl.constexpr = tl.constexpr(16384.0)",
        "tl.constexpr(0.0)\nWEIGHT_ONE: tl.constexpr = tl.constexpr(1.0)",
        ("test_nt_xent_rounding.py",),
    ),
    Mutation(
        "nt_xent small: self-mask off",
        Y,
        "m = (i_column[None, :] != i_row[:, None]) & (i_column < 2 * N)[None, :]",
        "m = (i_row[:, None] >= 0) & (i_column < 2 * N)[None, :]",
        NT_XENT,
    ),
    Mutation("nt_xent small: positive's 2 left out", Y, "axis=1) - 2.0 * WEIGHT_ONE", "axis=1)", NT_XENT),
    Mutation(
        "nt_xent small: P_ji left out",
        Y,
        "b_i[:, None], b_j[None, :], scale",
        "b_i[:, None], b_i[:, None], scale",
        NT_XENT,
    ),
    Mutation(
        "nt_xent small: no 1/T in the gradient",
        Y,
        "(inv_temp * has_negatives / (2.0 * N)",
        "(has_negatives / (2.0 * N)",
        NT_XENT,
    ),
    Mutation("adam: no bias correction", A, "tl.div_rn(tl.load(p_lr), bias_correction1)", "tl.load(p_lr)", ADAM),
    Mutation("adam: the flag is ignored", A, "not (tl.load(p_found_inf).to(tl.float32) > 0.0)", "True", ADAM),
    Mutation("adam: copies are not written", A, "            if HAS_SHADOW:\n", "            if False:\n", ADAM),
    Mutation("adam: arrivals are not reset", A, "            tl.store(p_semaphore, 0)\n", "            pass\n", ADAM),
    Mutation("adam: gradients are not unscaled", A, "b_g = b_g * inv_grad_scale", "b_g = b_g * 1.0", ADAM),
    Mutation("adam: the large gradient is not read", A, "tl.where(large, p_large, p_grad)", "p_grad", ADAM),
    Mutation("adam: the large gradient from its middle", A, "tl.where(large, first_large, 0)", "0 * first_large", ADAM),
    Mutation("adam: one averaged tile is left out", A, "i_tile >= first_averaged", "i_tile > first_averaged", ADAM),
    Mutation("adam: averages do not see the weights", A, "share * (b_p - b_a)", "share * (0.0 * b_p - b_a)", ADAM),
    Mutation("adam: averages go all the way", A, "share = tl.load(p_share)", "share = 1.0 + tl.load(p_lr)", ADAM),
)


def _first_failure(copy: Path, tests: tuple[str, ...]) -> str | None:
    """The name of the first test that fails, or None."""
    for test in tests:
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"tests/kernels/{test}",
            "-x",
            "-rfE",
            "--tb=no",
            "--show-capture=no",
        ]
        environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 5):
            found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
            return found[1] if found else f"{test} ({done.stdout.strip().splitlines()[-1]})"
    return None


def main() -> int:
    """Try every mutation; 1 if one went unnoticed."""
    parser = argparse.ArgumentParser(prog="python -m bench.checks.mutations", description=__doc__)
    parser.add_argument("--only", default="", help="mutations whose description contains this")
    parser.add_argument("--save", action="store_true", help="write bench/results/mutations.txt as well")
    chosen = parser.parse_args()
    lines, unnoticed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__", "results"))
            else:
                shutil.copy(source, copy / part)
        for mutation in MUTATIONS:
            if chosen.only not in mutation.what:
                continue
            path = copy / "kernels" / mutation.file
            text = path.read_text(encoding="utf-8")
            assert text.count(mutation.old) == 1, f"{mutation.what}: {text.count(mutation.old)} places"
            path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
            failure = _first_failure(copy, mutation.tests)
            path.write_text(text, encoding="utf-8")
            unnoticed += failure is None
            lines.append(f"{mutation.what:55} {failure or 'NOT NOTICED'}")
            print(lines[-1], flush=True)
    if chosen.save:
        (RESULTS / "mutations.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
