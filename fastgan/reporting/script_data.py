"""What the report's script is given: JSON in the page, in which no name can end the element that holds it.

Legend: N images, M of them that are on the map.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from fastgan.evaluation.code_summary import RunSummary
from fastgan.evaluation.image_map import ImageMap
from fastgan.reporting.map_picture import Sheet
from fastgan.reporting.shots import Originals
from fastgan.text import encodable

MILLION = 1_000_000  # a confidence is kept with six digits after the point, as in the table of fastgan.cluster


def script_data(run: RunSummary, originals: Originals, found: ImageMap, sheet: Sheet, key: str) -> Markup:
    """The JSON: the groups, the map, and, packed, the table of all images.

    Args:
        key: under which a browser remembers the names given to the groups of this run.
    """
    on_map = found.index_M.tolist()
    values = {
        "key": key,
        "classes": len(run.sizes_K),
        "first": "index" if originals.paths is None else "path",
        "folder": _folder(originals),
        "map": {
            "sheet": sheet.uri,
            "side": sheet.side,
            "columns": sheet.columns,
            "index": on_map,
            "x": (found.places_M2[:, 0] * 1000).round().int().tolist(),
            "y": (found.places_M2[:, 1] * 1000).round().int().tolist(),
            "code": run.codes_N[found.index_M].tolist(),
            "sure": (run.confidences_N[found.index_M] * 100).round().int().tolist(),
            "name": [encodable(originals.full_name(i)) for i in on_map],
            "link": [originals.link(i) for i in on_map],
        },
        "table": _packed(run, originals),
    }
    return in_script(values)


def in_script(values: Any) -> Markup:
    """JSON that is safe in a script element: it holds no <, > or &, and nothing but ASCII."""
    text = json.dumps(values, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _folder(originals: Originals) -> str:
    """What stands before each path in the table of fastgan.cluster."""
    return encodable(str(Path(os.path.join(originals.folder, "x")))[:-1])


def _packed(run: RunSummary, originals: Originals) -> str:
    """The columns of all images as JSON, deflated, in base64."""
    codes_N2, millionths_N2 = run.readings.codes_N2, _millionths(run.readings.confidences_N2)
    columns: dict[str, Sequence[Any]] = {
        "name": [] if originals.paths is None else [encodable(path) for path in originals.paths],
        "code": codes_N2[:, 0].tolist(),
        "sure": millionths_N2[:, 0].tolist(),
        "second": codes_N2[:, 1].tolist(),
        "also": millionths_N2[:, 1].tolist(),
    }
    return base64.b64encode(zlib.compress(json.dumps(columns, separators=(",", ":")).encode(), 9)).decode("ascii")


def _millionths(shares: Tensor) -> Tensor:
    return (shares.double() * MILLION).round().to(torch.int64)
