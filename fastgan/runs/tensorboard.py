"""The rows of metrics.jsonl for TensorBoard too, where it is installed; a run depends on it in nothing."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm


class Board:
    """TensorBoard's event files in `folder`: every number of a row under its own name, over the images seen.

    Nothing is written outside `opened`, without TensorBoard or without a folder. What fails is told once, and the run
    goes on without.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._writer: Any = None
        self._new = True  # the folder holds no events yet

    @contextmanager
    def opened(self, images_seen: int, rows: Sequence[dict[str, Any]]) -> Iterator[None]:
        """Take rows within, for a run that begins, or goes on, after `images_seen` images.

        A run that goes on writes another file, which tells TensorBoard to forget all from `images_seen` on.

        Args:
            rows: those that metrics.jsonl holds: of them, the ones that are not in the folder or are forgotten.
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
            self._writer.flush()  # or a killed run would lose what its log has
        except Exception as error:  # noqa: BLE001 - whatever it was
            self._give_up(error)

    def _open(self, images_seen: int) -> None:
        if self.folder is None:
            return
        try:
            with warnings.catch_warnings():  # its own, of the packages that it imports
                warnings.simplefilter("ignore")
                from torch.utils.tensorboard import SummaryWriter
            self._new = not any(self.folder.glob("events.out.tfevents.*"))
            self._writer = SummaryWriter(str(self.folder), purge_step=None if self._new else images_seen)
        except Exception as error:  # noqa: BLE001 - whatever it was
            if not isinstance(error, ModuleNotFoundError) or error.name != "tensorboard":
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        tqdm.write(f"warning: {self.folder}: not written from here on ({said}); metrics.jsonl is", file=sys.stderr)
        self._close(quiet=True)

    def _close(self, *, quiet: bool = False) -> None:
        """End TensorBoard's thread and close its file."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except Exception as error:  # noqa: BLE001 - whatever it was
            if not quiet:
                self._give_up(error)
