"""Numbers and lists in messages."""

from __future__ import annotations

from collections.abc import Sequence


def pluralize(number: int, one: str, many: str | None = None) -> str:
    """1 image, 2 images, 1,200 images; `many` is the plural if it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def words(codes: Sequence[int], most: int = 12) -> str:
    """1, 2 and 3; of more than `most` codes the rest is counted: 1, 2 and 5 more."""
    shown = [str(code) for code in codes[:most]]
    if len(codes) > most:
        shown.append(f"{len(codes) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def in_bytes(count: float) -> str:
    """1 B, 1.5 kB, 320 MB, 4.7 GB, in powers of 1,000, as disks are sold."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 999.5 else f"{count:,.0f} GB"


def in_time(seconds: float) -> str:
    """12 s, 35 min, 3.2 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
