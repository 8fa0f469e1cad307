r"""Numbers, lists and names in messages and files.

A name may hold what a file or a line cannot: bytes that are no UTF-8 (Python reads them as U+DC80 to U+DCFF), line
ends, marks that reverse a line. Each such character is written as \uXXXX, and so that this can be read back, a
backslash that would look like the beginning of one as \u005c. `unescaped` is the inverse, and `os.fsencode` of what it
returns gives the bytes.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

# The half surrogates, and a backslash that looks like an escape.
_NO_TEXT = r"\ud800-\udfff"
_ESCAPE = r"|\\(?=u[0-9a-f]{4})"
_UNENCODABLE = re.compile(f"[{_NO_TEXT}]{_ESCAPE}")
# Besides: control characters, line and paragraph separators, and what changes the direction of a line.
_UNPRINTABLE = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069{_NO_TEXT}]{_ESCAPE}")


def pluralize(number: int, one: str, many: str | None = None) -> str:
    """1 image, 2 images, 1,200 images; `many` is the plural if it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def words(codes: Sequence[int], most: int = 12) -> str:
    """1, 2 and 3; of more than `most` codes the rest is counted: 1, 2 and 5 more."""
    shown = [str(code) for code in codes[:most]]
    if len(codes) > most:
        shown.append(f"{len(codes) - most} more")
    return joined(shown)


def joined(parts: Sequence[str], word: str = "and") -> str:
    """One or more texts as a list in a sentence: a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"


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


def encodable(name: str) -> str:
    """A name for a file of data: what UTF-8 cannot hold is escaped."""
    return _UNENCODABLE.sub(_escape, name)


def printable(name: str) -> str:
    """A name for a reader: what UTF-8 cannot hold, or what would break its line, is escaped."""
    return _UNPRINTABLE.sub(_escape, name)


def unescaped(text: str) -> str:
    """The inverse of `encodable` and of `printable`."""
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)


def shell_quoted(path: Path | str) -> str:
    """A path as a word of a shell's command line; in $'...', which bash and zsh know, if it is not printable."""
    if printable(str(path)) == str(path):
        return shlex.quote(str(path))
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}" for byte in os.fsencode(path))
    return f"$'{''.join(plain)}'"


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
