"""Decoding many files at a time, by threads or processes.

Legend: n files of a batch, C channels, S the side.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import statistics
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from fastgan.data import decode, facts
from fastgan.data.decode import Form, Picture, quiet
from fastgan.data.intensity import Deep, Pixels
from fastgan.errors import DataError
from fastgan.runtime import threads

MOST_WORKERS = 8
FILES_PER_BATCH = 32  # files that a worker decodes at a time, at most
BATCHES_PER_WORKER = 8  # at least, so that all workers end at about the same time
TINY = 8192  # bytes; decoding a smaller file is mostly work in Python
MANY = 1024  # tiny files from which on forking processes, which takes 0.05 s, pays off
PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)


@dataclass(frozen=True)
class Batch:
    """The decoded files of a batch.

    count: n. images: of the good files, uint8 [good, C, S, S]. rows: what was seen of these, ROW [good]. deep: by
    position in `images`, those that are 0 until their range is known, as their rows are. bad: by position among the n
    files, the reason for each that is not good.
    """

    count: int
    images: Pixels
    rows: NDArray[Any]
    deep: dict[int, Deep]
    bad: dict[int, str]


class _Batches(Dataset[Batch]):
    """The results of `decode_file` for all paths, `files_per_batch` at a time."""

    def __init__(
        self, paths: Sequence[str | Path], form: Form, crops: Sequence[int | None] | None, files_per_batch: int
    ) -> None:
        self.paths, self.form, self.crops, self.files_per_batch = paths, form, crops, files_per_batch

    def __len__(self) -> int:
        return -(-len(self.paths) // self.files_per_batch)

    def __getitem__(self, number: int) -> Batch:
        these = slice(number * self.files_per_batch, (number + 1) * self.files_per_batch)
        paths = self.paths[these]
        crops = [None] * len(paths) if self.crops is None else self.crops[these]
        return as_batch(
            [decode.decode_file(path, self.form, crop) for path, crop in zip(paths, crops, strict=True)], self.form
        )


def as_batch(found: Sequence[Picture | str], form: Form) -> Batch:
    """Decoded images, and the reasons for those that cannot be, as a batch."""
    good = [each for each in found if not isinstance(each, str)]
    images = np.empty((len(good), form.channels, form.image_size, form.image_size), np.uint8)
    if good:
        np.stack([each.pixels for each in good], out=images)
    deep = {place: each.deep for place, each in enumerate(good) if each.deep is not None}
    rows = facts.seen([each.source for each in good], images)
    bad = {place: each for place, each in enumerate(found) if isinstance(each, str)}
    return Batch(len(found), images, rows, deep, bad)


def decode_files(
    paths: Sequence[str | Path],
    form: Form,
    workers: int | None = None,
    crops: Sequence[int | None] | None = None,
) -> Generator[Batch]:
    """The results of `decode_file` for the paths, in order.

    Uses threads, since Pillow decodes without the GIL. But the work on tiny files is mostly in Python, where two
    threads are no faster than one: many tiny files are decoded by processes, which torch's DataLoader forks (on Linux),
    and which end with this process, however it ends.

    Args:
        workers: number of threads or processes; by default one per processor that this process may use.
        crops: of each path, as in `decode`; by default none.

    Raises:
        DataError: when a worker process is killed, for instance when memory runs out.
    """
    workers = min(MOST_WORKERS, threads.available()) if workers is None else workers
    files_per_batch = max(1, min(FILES_PER_BATCH, len(paths) // (BATCHES_PER_WORKER * max(workers, 1))))
    batches = _Batches(paths, form, crops, files_per_batch)
    if workers < 2:
        decoded: Iterator[Batch] = map(batches.__getitem__, range(len(batches)))
    elif _forks() and len(paths) >= MANY and _tiny(paths):
        decoded = _by_processes(batches, workers)
    else:
        decoded = _by_threads(batches, workers)
    with quiet():  # hides Python's warning about fork with threads too
        yield from decoded


def _tiny(paths: Sequence[str | Path]) -> bool:
    """Whether most files are below TINY bytes, by a sample; True if none of it can be read."""
    sizes = []
    for path in paths[:: max(1, len(paths) // 32)]:
        with contextlib.suppress(OSError):
            sizes.append(os.stat(path).st_size)
    return not sizes or statistics.median(sizes) < TINY


def _forks() -> bool:
    """Whether worker processes can be forked: on Linux, unless this is a daemonic process."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def _by_processes(batches: _Batches, workers: int) -> Iterator[Batch]:
    loader = DataLoader(
        batches,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context="fork",  # no imports again; the processes call only Pillow
        worker_init_fn=_end_with_parent,
        generator=torch.Generator(),  # the default would draw from the global generator
    )
    try:
        yield from loader
    except RuntimeError as error:
        raise DataError(f"a process that decodes images ended ({' '.join(str(error).split())}); try again") from error


def _end_with_parent(worker: int) -> None:
    """Ask the kernel to: torch's watchdog does not end a worker that is blocked writing to a closed queue."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != os.getppid():  # the parent had already ended
        os._exit(1)


def _as_it_is(batch: Any) -> Any:
    return batch


def _by_threads(batches: _Batches, workers: int) -> Iterator[Batch]:
    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[Batch]] = deque()
    try:
        for number in range(len(batches)):
            ahead.append(pool.submit(batches.__getitem__, number))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
