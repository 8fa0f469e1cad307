"""The class prior: how frequent each code is, learned or fixed (arXiv 1910.01112, section 3.2).

Legend: B rows, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import kernels
from fastgan.errors import ConfigError


class ClassPrior(nn.Module):
    """Probabilities softmax(logits) of K codes, sampled through Gumbel-Softmax.

    kind "learned": the logits are a parameter, all equal at the start. "uniform": equal for good. "true": fixed
    to the log of `frequencies` [K] (ConfigError when those are missing or not K many).
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
        """Nearly one-hot codes [B, K], with gradient to learned logits, and their indices [B], without.

        Args:
            row_start: the first row's number in a batch that is drawn in parts.
        """
        # The products of autocast are no place for a temperature of 0.1: codes stay in the logits' precision.
        return kernels.gumbel_softmax(
            self.logits, temperature=temperature, seed=seed, offset=offset, batch_size=rows, row_start=row_start
        )
