"""Locks between processes: held by one at a time, and freed by the system when their process ends, however it ends."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What file systems without locks answer.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


def lock_opened(file: IO[bytes] | int) -> bool | None:
    """Lock an open file or folder until it is closed or its process ends; False if another holds it, None without
    locks. For what must not be written to: a file that is being made, or a folder."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def try_lock(path: Path) -> FileLock | None:
    """A lock on the file `path`, which is made if it is absent and stays; None if another holds it.

    Raises:
        NotImplementedError: where the file system has no locks.
        OSError: if the file cannot be made or opened.
    """
    # fallback_to_soft would leave a lock behind when its process is killed.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise NotImplementedError(error.strerror) from error
        raise
    return lock


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Yields whether this process may go on: it holds the lock, or there can be none here; else another holds it.

    Raises:
        OSError: if the file cannot be made or opened.
    """
    try:
        lock = try_lock(path)
    except NotImplementedError:
        yield True
        return
    if lock is None:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
