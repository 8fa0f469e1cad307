"""Decoding many files at a time: their order, threads and processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from own_images import put

from fastgan.data import decode, workers
from fastgan.data.decode import Form
from fastgan.data.workers import decode_files


def results(batches: list[workers.Batch]) -> list[int | str]:
    """The first pixel of each file's image, or why there is none."""
    found: list[int | str] = []
    for batch in batches:
        images = iter(batch.images)
        found += [batch.bad[n] if n in batch.bad else int(next(images)[0, 0, 0]) for n in range(batch.count)]
    return found


def test_files_come_in_their_order_and_bad_ones_as_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(100)]
    for number, path in enumerate(paths):
        put(path, number) if number % 10 else path.write_bytes(b"")
    paths.append(tmp_path / "absent.png")
    state = torch.random.get_rng_state()
    monkeypatch.setattr(workers, "MANY", 100)
    for count, forks in ((None, True), (0, True), (3, True), (3, False)):
        monkeypatch.setattr(workers, "_forks", lambda forks=forks: forks and sys.platform == "linux")
        batches = list(decode_files(paths, Form(2, 1), count))
        assert results(batches) == [
            *(number if number % 10 else "empty file" for number in range(100)),
            "cannot be read (No such file or directory)",
        ]
        assert all(batch.rows["darkest"].tolist() == batch.images[:, 0, 0, 0].tolist() for batch in batches)
    assert decode.decode_file(tmp_path, Form(2, 1)) == "cannot be read (Is a directory)"
    assert torch.equal(torch.random.get_rng_state(), state)  # a run draws the same, whether it decodes or not


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize(("size", "count", "expected"), [(60, 1200, True), (60, 300, False), (9000, 1200, False)])
def test_many_tiny_files_are_decoded_by_processes(
    size: int, count: int, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of others threads are as fast, and of few forking takes longer."""
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    monkeypatch.setattr(workers.threads, "available", lambda: 2)
    monkeypatch.setattr(decode, "decode_file", lambda *_: str(os.getpid()))
    ours = str(os.getpid())
    assert {each != ours for each in results(list(decode_files([path] * count, Form(2, 1))))} == {expected}
