"""Training shared out over processes: cases 20 and 21."""

from __future__ import annotations

from pathlib import Path

from faults import Result

NOT_BUILT = (
    "not built: a run trains in one process; torchrun shares the runs of a sweep out over processes that do not wait "
    "for each other"
)


def lost_rank(count: int, folder: Path) -> Result:
    """A rank that is killed or stalled."""
    return Result(note=NOT_BUILT)


def gradient_scale(count: int, folder: Path) -> Result:
    """One rank with 2B images against two with B."""
    return Result(note=f"{NOT_BUILT}; the contrastive loss in two parts is tested in tests/kernels/test_nt_xent.py")
