"""Tables of files, as csv: the class of each image, and where each file was sorted to.

Every text is in quotes, so that a line end, a comma or a quote in a file name breaks no row; the files are UTF-8, and a
name that is not is escaped (`fastgan.text.encodable`).

Legend: N images.
"""

from __future__ import annotations

import contextlib
import csv
import uuid
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from fastgan.errors import ConfigError
from fastgan.text import encodable

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = ("class", "confidence", "second_class", "second_confidence")
NAME = "name"  # of the class, where a person has named it


def write_table(
    out: Path,
    names: Sequence[str | int],
    first: str,
    codes_N2: Tensor,
    confidences_N2: Tensor,
    class_names: Mapping[int, str] | None = None,
) -> None:
    """Write the class of each image, and its second choice, as a csv file, atomically.

    Args:
        names: of the images, paths or indices.
        first: the heading of their column.
        class_names: of the classes that have one, for a last column; None for none.

    Raises:
        ConfigError: it cannot be written.
    """
    partial = out.parent / f".{uuid.uuid4().hex}"  # not the table's name and more, which may be too long
    rows = zip(names, codes_N2.tolist(), confidences_N2.tolist(), strict=True)
    heads, called = (COLUMNS, None) if class_names is None else ((*COLUMNS, NAME), class_names)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_csv(
            partial,
            (first, *heads),
            (
                (name, k, _share(p), also, _share(q), *([] if called is None else [called.get(k, "")]))
                for name, (k, also), (p, q) in rows
            ),
        )
        partial.replace(out)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: cannot be written ({error.strerror or error}); name a .csv file in a folder that can"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone, or never made
            partial.unlink()


def write_csv(path: Path, headings: Sequence[str], rows: Iterable[Sequence[str | int | Decimal]]) -> None:
    """Write a csv file; raises OSError. Rows end in a line feed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        table.writerow(headings)
        table.writerows([encodable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)


def _share(probability: float) -> Decimal:
    """With six digits after the point; a float would be written with as many as it has."""
    return Decimal(f"{probability:.6f}")
