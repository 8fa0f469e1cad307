"""Where each parameter of a group lies in its flat buffers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

# Elements to which every parameter's start is aligned: 32 bytes of 16-bit values, as vector accesses and matrix
# libraries want it. A buffer's length is then a multiple of it, which the kernel's vector accesses need.
ALIGN = 16
TILE = 1024  # elements of which a program of the kernel does one after the other
# Elements from which on a gradient is read where it lies: to copy it moves 1 MB of 16-bit values or more, which takes
# longer than the rest of the one launch that copies all the others.
LARGE = 2**18


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


class Layout(NamedTuple):
    """Where a group's parameters lie in its buffers, in elements."""

    starts: list[int]
    length: int
    first_averaged: int
    """From here to the end each weight has an average."""
    large: int | None
    """Index of the parameter that lies last, because its gradient is read where backward has left it."""


def lay_out(parameters: list[nn.Parameter], averages: Mapping[nn.Parameter, Tensor]) -> Layout:
    """Parameters without an average, then those with one, then the large one: each part begins with a tile.

    So each tile is of one part. The large one has an average if any parameter has, and a multiple of ALIGN elements, so
    that the buffer ends with it.
    """
    averaged = [parameter in averages for parameter in parameters]
    may = [i for i, has in enumerate(averaged) if has or not any(averaged)]
    largest = max(may, key=lambda i: parameters[i].numel())
    size = parameters[largest].numel()
    large = largest if size >= LARGE and size % ALIGN == 0 else None
    starts, end, first_averaged = [0] * len(parameters), 0, None
    for i in sorted(range(len(parameters)), key=lambda i: (averaged[i], i == large)):
        if i == large or (averaged[i] and first_averaged is None):
            end = _up(end, TILE)
        if averaged[i] and first_averaged is None:
            first_averaged = end
        starts[i] = end
        end += _up(parameters[i].numel(), ALIGN)
    return Layout(starts, end, end if first_averaged is None else first_averaged, large)
