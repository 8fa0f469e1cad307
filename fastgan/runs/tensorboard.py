"""Writes the rows of metrics.jsonl for TensorBoard too, if it is installed; its failures never stop a run."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm


class TensorBoardLog:
    """TensorBoard's event files in `folder`: each number of a row is a scalar, with the images seen as step.

    Nothing is written outside `opened`, without TensorBoard or without a folder. A failure is reported once, and the
    run goes on without event files.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._writer: Any = None
        self._new = True  # the folder holds no events yet

    @contextmanager
    def opened(self, images_seen: int, rows: Sequence[dict[str, Any]]) -> Iterator[None]:
        """Within, rows are written; the run starts or resumes after `images_seen` images.

        A resumed run writes another file, whose purge step makes TensorBoard discard events from `images_seen` on.

        Args:
            rows: of metrics.jsonl; those that event files lack, or that are discarded, are written again.
        """
        self._open(images_seen)
        if self._writer is not None:
            for row in rows if self._new else [row for row in rows if row.get("images_seen", 0) >= images_seen]:
                self.append(row)
        try:
            yield
        finally:
            self._close()

    def append(self, row: dict[str, Any]) -> None:
        """Write the finite numbers of a row."""
        if self._writer is None:
            return
        try:
            for name, value in row.items():
                if name != "images_seen" and isinstance(value, (int, float)) and math.isfinite(value):
                    self._writer.add_scalar(name, value, global_step=row["images_seen"])
            self._writer.flush()  # a killed run must not lose rows that metrics.jsonl has
        except Exception as error:  # noqa: BLE001 - no failure may stop the run
            self._give_up(error)

    def _open(self, images_seen: int) -> None:
        if self.folder is None:
            return
        try:
            with warnings.catch_warnings():  # from packages that TensorBoard imports
                warnings.simplefilter("ignore")
                from torch.utils.tensorboard import SummaryWriter
            self._new = not any(self.folder.glob("events.out.tfevents.*"))
            self._writer = SummaryWriter(str(self.folder), purge_step=None if self._new else images_seen)
        except Exception as error:  # noqa: BLE001 - no failure may stop the run
            if not isinstance(error, ModuleNotFoundError) or error.name != "tensorboard":
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        tqdm.write(f"warning: {self.folder}: not written from here on ({message}); metrics.jsonl is", file=sys.stderr)
        self._close(quiet=True)

    def _close(self, *, quiet: bool = False) -> None:
        """End TensorBoard's thread and close its file."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except Exception as error:  # noqa: BLE001 - no failure may stop the run
            if not quiet:
                self._give_up(error)
