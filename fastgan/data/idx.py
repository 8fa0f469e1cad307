"""Files of MNIST's format, idx, plain or gzip."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from fastgan.errors import DataError

MOST_BYTES = 1 << 30  # a header that declares more is treated as damaged


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 array in an idx file, plain or gzip.

    Raises:
        DataError: naming the file, when it is truncated, too long or not an idx file of uint8 in `dimensions`.
    """
    try:
        with path.open("rb") as file:
            plain = file.read(2) != b"\x1f\x8b"
            file.seek(0)
            if plain:
                return _parse_idx(file, path, dimensions)
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _parse_idx(io.BufferedReader(unzipped), path, dimensions)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip data ({error}); fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from error


def _parse_idx(file: BinaryIO, path: Path, dimensions: int) -> Tensor:
    header = file.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{path}: expected a header of {4 + 4 * dimensions} bytes, found {len(header)}; fetch the file again"
        )
    if header[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(
            f"{path}: not an idx file of {dimensions}-dimensional bytes (it begins with {header[:4].hex()}, "
            f"expected 000008{dimensions:02x}); fetch the file again"
        )
    shape = np.frombuffer(header, ">u4", offset=4).tolist()
    expected = math.prod(shape)
    if not 0 < expected <= MOST_BYTES:
        raise DataError(
            f"{path}: its header declares {expected} bytes {shape}, as no MNIST file does; fetch the file again"
        )
    body = file.read(expected + 1)
    if len(body) != expected:
        found = f"{len(body)}" if len(body) < expected else f"more than {expected}"
        raise DataError(f"{path}: expected {expected} bytes of data {shape}, found {found}; fetch the file again")
    return torch.frombuffer(bytearray(body), dtype=torch.uint8).reshape(shape)
