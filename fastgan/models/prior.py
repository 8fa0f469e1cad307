"""The class prior: the probability of each code, learned or fixed (arXiv 1910.01112, section 3.2).

Legend: B rows, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import kernels
from fastgan.errors import ConfigError


class ClassPrior(nn.Module):
    """Probabilities softmax(logits) of K codes, sampled with Gumbel-Softmax (arXiv 1611.01144).

    Args:
        kind: "learned": the logits are a parameter that starts at zero. "uniform": zero and fixed. "true": fixed to
            the log of `frequencies`.
        frequencies: of the real classes, [K].

    Raises:
        ConfigError: when "true" has no frequencies, or not K of them.
    """

    logits: Tensor

    def __init__(self, kind: str, classes: int, frequencies: Tensor | None = None) -> None:
        super().__init__()
        start = torch.zeros(classes)
        if kind == "true":
            if frequencies is None:
                raise ConfigError("--prior true: needs images with labels; use --prior learned or uniform")
            if len(frequencies) != classes:
                raise ConfigError(
                    f"--prior true: the data has {len(frequencies)} classes, so add --classes {len(frequencies)}"
                )
            start = frequencies.log().float()
        if kind == "learned":
            self.logits = nn.Parameter(start)
        else:
            self.register_buffer("logits", start)

    def probabilities(self) -> Tensor:
        """softmax(logits), [K], without gradient."""
        return self.logits.detach().softmax(0)

    def sample(
        self, rows: int, *, temperature: float | Tensor, seed: Tensor, offset: Tensor, row_start: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Relaxed one-hot codes [B, K], differentiable in learned logits, and their indices int64 [B].

        Args:
            seed, offset: int64 tensors that determine the draw.
            row_start: the index of the first row in a batch that is drawn in parts.
        """
        # A temperature of 0.1 needs more precision than autocast has: codes keep the dtype of the logits.
        return kernels.gumbel_softmax(
            self.logits, temperature=temperature, seed=seed, offset=offset, batch_size=rows, row_start=row_start
        )
