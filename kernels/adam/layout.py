"""Positions of a group's parameters in its flat buffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

# Elements to which each parameter's start is aligned: 32 bytes of 16-bit values, for vector accesses and matrix
# libraries. The buffers' length is a multiple of it too, which the kernel's vector accesses need.
ALIGN = 16
TILE = 1024  # elements that a program of the kernel processes at a time
# A gradient of at least this many elements is read in place: copying it would move 1 MB or more, which takes longer
# than the single launch that copies all the others.
LARGE = 2**18


def _round_up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


class Layout(NamedTuple):
    """Positions of a group's parameters in its buffers, in elements."""

    starts: list[int]
    length: int
    first_averaged: int
    """Weights from here to the end have averages."""
    large: int | None
    """Index of the parameter that is placed last, because its gradient is read where backward left it."""


def lay_out(parameters: list[nn.Parameter], averages: Mapping[nn.Parameter, Tensor]) -> Layout:
    """Place parameters without an average, then those with one, then the large one; each part begins with a tile.

    So no tile spans two parts. The large parameter has an average if any parameter has, and a multiple of ALIGN
    elements, so that the buffer ends with it.
    """
    averaged = [parameter in averages for parameter in parameters]
    candidates = [i for i, has in enumerate(averaged) if has or not any(averaged)]
    largest = max(candidates, key=lambda i: parameters[i].numel())
    size = parameters[largest].numel()
    large = largest if size >= LARGE and size % ALIGN == 0 else None
    starts, end, first_averaged = [0] * len(parameters), 0, None
    for i in sorted(range(len(parameters)), key=lambda i: (averaged[i], i == large)):
        if i == large or (averaged[i] and first_averaged is None):
            end = _round_up(end, TILE)
        if averaged[i] and first_averaged is None:
            first_averaged = end
        starts[i] = end
        end += _round_up(parameters[i].numel(), ALIGN)
    return Layout(starts, end, end if first_averaged is None else first_averaged, large)
