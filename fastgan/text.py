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
