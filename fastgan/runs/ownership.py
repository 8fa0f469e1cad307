"""One owner a run folder: the process that writes into it, until it ends. Reading needs no ownership.

The owner holds the lock RUN/.lock, in which it writes its process's number and its host. The system frees the lock when
the process dies, so that a folder is never blocked by a process that is gone. Of the ranks of one run rank 0 owns it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastgan.errors import ConfigError
from fastgan.runtime import file_lock

LOCK = ".lock"
REMEDY = "wait until it ends, or stop it"
PATIENCE = 0.5  # seconds that another process may take from locking to writing its number


class InUseError(ConfigError):
    """Another process owns the run folder."""


@contextmanager
def owned(path: Path, remedy: str = REMEDY, *, new: bool = False) -> Iterator[None]:
    """Within, this process owns the run folder `path`, which is made if it is absent.

    A folder that was made for it and holds nothing by then is removed at the end. Where the file system has no locks a
    note says so, and nothing is owned.

    Args:
        remedy: what to do while another process owns it.
        new: whether it must be made.

    Raises:
        InUseError: another process owns it.
        OSError: it cannot be made or written; FileExistsError if it is not `new`.
    """
    path = Path(os.path.abspath(path))
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=not new)
        lock = file_lock.try_lock(path / LOCK)
    except NotImplementedError:
        print(
            f"note: {path}: this file system has no locks; let no other process write into this folder meanwhile",
            file=sys.stderr,
        )
        yield
        return
    if lock is None:
        raise InUseError(f"{path}: in use by {_owner(path)}; {remedy}")
    _write(path, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    try:
        yield
    finally:
        _write(path, "")
        if made and set(os.listdir(path)) <= {LOCK}:
            with contextlib.suppress(OSError):
                (path / LOCK).unlink()  # while it is locked: who opened it meanwhile sees that it is gone
                for folder in made:
                    folder.rmdir()
        lock.release()


def _write(path: Path, owner: str) -> None:
    """The owner's name into the lock; where that cannot be, as on a full disk, it stays unnamed."""
    with contextlib.suppress(OSError):
        (path / LOCK).write_text(owner, encoding="utf-8")


def _owner(path: Path) -> str:
    """Who holds the lock, in words."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            owner = json.loads((path / LOCK).read_text(encoding="utf-8"))
            return f"process {int(owner['pid'])} on {owner['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                return "another process"
            time.sleep(0.02)
