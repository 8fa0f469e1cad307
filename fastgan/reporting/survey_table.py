"""What `python -m fastgan.check` prints of a folder and of the cache, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastgan.data.cache_contents import Kept
from fastgan.data.scan import shown
from fastgan.data.survey import Survey
from fastgan.text import in_bytes, pluralize

NAMED = 3  # files that a line names at most
FOLDERS = 12  # subfolders that a line names at most
Row = tuple[str, str]  # what, and its value in words


def as_text(rows: Iterable[Row]) -> str:
    """Rows as two aligned columns."""
    return "\n".join(f"  {what:<20} {value}" for what, value in rows)


def rows(found: Survey) -> list[Row]:
    """What a survey found: first what there is, then what may be wrong with it."""
    table = [
        ("images", f"{found.images:,} in {in_bytes(found.size)}"),
        ("formats", _counted(found.kinds.most_common())),
        ("pixel modes", _counted(found.modes.most_common())),
    ]
    if found.images:
        width, height = np.median(found.sides, axis=0)
        shorter = found.sides.min(1)
        table.append(
            ("size, pixels", f"{width:.0f} x {height:.0f} (median); shorter side {shorter.min()} to {shorter.max()}")
        )
    table.append(("subfolders", _subfolders(found)))
    if found.ignored:
        table.append(("ignored", pluralize(found.ignored, "other or hidden file")))
    return table + _doubts(found)


def _doubts(found: Survey) -> list[Row]:
    doubts = []
    if found.bad:
        named = "; ".join(f"{shown(path)}: {reason}" for path, reason in found.bad[:NAMED])
        doubts.append(("cannot be used", f"{pluralize(len(found.bad), 'file')} ({_more(named, len(found.bad), '; ')})"))
    if found.copies:
        extra = sum(len(group) - 1 for group in found.copies)
        named = ", ".join(f"{shown(group[1])} of {shown(group[0])}" for group in found.copies[:NAMED])
        more = _more(named, len(found.copies), ", ")
        doubts.append(("copies", f"{pluralize(extra, 'file')} with the content of another ({more})"))
    if found.unsupported:
        kinds = ", ".join(
            f"{pluralize(count, kind + ' file')} ({shown(path)})" for kind, count, path in found.unsupported
        )
        doubts.append(("not supported", f"{kinds}; convert them to JPEG, PNG or TIFF to have them in"))
    return doubts + [("note", line) for line in found.sample.remarks()]


def _subfolders(found: Survey) -> str:
    folders = [(name, count) for name, count in found.classes.most_common() if name]
    loose = found.classes.get("", 0)
    if not folders:
        return "none: all images lie in the folder itself"
    named = _counted([(shown(name), count) for name, count in folders[:FOLDERS]])
    named = _more(named, len(folders), ", ", FOLDERS)
    return f"{len(folders):,}: {named}" + (f"; and {loose:,} images in the folder itself" if loose else "")


def _counted(counts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts)


def _more(named: str, count: int, between: str, most: int = NAMED) -> str:
    return named if count <= most else f"{named}{between}and {count - most:,} more"


def as_json(found: Survey) -> dict[str, Any]:
    """A survey as plain JSON values; files are named in full."""
    shorter = found.sides.min(1) if found.images else np.zeros(1, np.int64)
    return {
        "folder": str(found.folder),
        "images": found.images,
        "bytes": found.size,
        "formats": dict(found.kinds),
        "modes": dict(found.modes),
        "median_width_height": np.median(found.sides, axis=0).tolist() if found.images else None,
        "shorter_side": [int(shorter.min()), int(shorter.max())],
        "subfolders": dict(sorted(found.classes.items())),
        "ignored": found.ignored,
        "bad": [list(each) for each in found.bad],
        "decoded": len(found.sample.paths),
        "of_one_colour": list(found.sample.flat),
        "remarks": found.sample.remarks(),
        "not_supported": [list(each) for each in found.unsupported],
        "copies": [list(group) for group in found.copies],
    }


def cache_rows(kept: Sequence[Kept], today: float) -> list[Row]:
    """A line for each entry of the cache: its size, what it is, and days since it was used.

    Args:
        today: seconds since 1970.
    """
    table = []
    for each in kept:
        days = int(max(today - each.used, 0.0) // 86_400)
        of = f" of {shown(each.of)}" if each.of else ""
        used = "today" if days == 0 else f"{pluralize(days, 'day')} ago"
        table.append((in_bytes(each.size), f"{each.kind}{of}, used {used} ({each.path.name})"))
    return table
