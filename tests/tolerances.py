"""How far two results of one computation may lie apart: dtype -> (atol, rtol). Nobody widens it for a green run."""

from __future__ import annotations

import torch

TOLERANCES: dict[torch.dtype, tuple[float, float]] = {
    # Rounding is 1e-16; sums of thousands of terms and a division by a small temperature cost some digits.
    torch.float64: (1e-12, 1e-9),
    # Rounding is 6e-8; a GPU's own logarithm, of which Gumbel noise takes two, costs up to 3e-6.
    torch.float32: (1e-5, 1e-4),
    # Computed in float32, then rounded once to 8 bits: half a unit in the last place is 2^-9, one whole is allowed.
    torch.bfloat16: (1e-5, 2.0**-8),
    # Computed in float32, then rounded once to 11 bits; below 6e-5 only steps of 6e-8 exist, within atol.
    torch.float16: (1e-5, 2.0**-11),
}


def close(dtype: torch.dtype, factor: float = 1.0) -> dict[str, float]:
    """The arguments atol and rtol of `torch.testing.assert_close`; `factor` is the condition of the computation."""
    atol, rtol = TOLERANCES[dtype]
    return {"atol": atol * factor, "rtol": rtol * factor}
