"""Fetching a published data set through torchvision; where that fails, a line with what is wanted and where it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastgan.errors import DataError


@dataclass(frozen=True)
class Source:
    """A data set as it is published.

    title: its name. names: of the files that are wanted, as a message gives them. site: where they are.
    """

    title: str
    names: Sequence[str]
    site: str


def download(folder: Path, source: Source, call: Callable[[], object], makes: Sequence[Path], hint: str = "") -> None:
    """Let torchvision download files into `folder`; nothing of it stays when that fails.

    Args:
        call: torchvision's download.
        makes: files that it may leave damaged; those that are there before are kept.
        hint: more about `folder`, for the message.

    Raises:
        DataError: with the cause, the files and where to get them.
    """
    before = {path for path in makes if path.exists()}
    parents = dict.fromkeys(above for path in makes for above in path.parents)
    empty = [above for above in parents if not above.exists()]

    def undo() -> None:
        """Remove what may be damaged, and would be read the next time instead of being downloaded."""
        for path in makes:
            if path not in before:
                with contextlib.suppress(OSError):
                    path.unlink()
        for above in sorted(empty, key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):
                above.rmdir()

    try:
        call()
    except Exception as error:  # noqa: BLE001 - torchvision raises many kinds; each means that the download failed
        undo()
        cause = " ".join(str(error).split()).rstrip(":. ") or type(error).__name__
        raise DataError(
            f"{source.title} is not in {folder} and cannot be downloaded ({cause}); put {', '.join(source.names)} "
            f"there, from {source.site}, or name their folder with --data-dir{hint and f'; {hint}'}"
        ) from error
    except BaseException:  # Ctrl-C, or another signal
        undo()
        raise
