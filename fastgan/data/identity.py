"""Which images these are, by their pixels: so that a run goes on with the images that it began with.

Legend: N images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fastgan.data.facts import BYTES, digests
from fastgan.data.image_set import ImageSet
from fastgan.data.scan import shown
from fastgan.runtime import threads
from fastgan.text import pluralize

TOGETHER = 1024  # images that a thread digests at a time
NAMED = 3  # files of a kind that a message names


@dataclass(frozen=True)
class Identity:
    """The digests of N images in their order, and their paths if they are files.

    each: BYTES bytes an image, or None where only `digest` is known. digest: of all, 32 hexadecimal digits.
    """

    count: int
    digest: str
    each: bytes | None = None
    paths: tuple[str, ...] | None = None

    def summary(self) -> dict[str, Any]:
        """For run.json."""
        return {"count": self.count, "digest": self.digest}

    def listing(self) -> str | None:
        """A line of digest and path for each image; None for images without paths."""
        if self.paths is None or self.each is None:
            return None
        digests = [self.each[i : i + BYTES].hex() for i in range(0, len(self.each), BYTES)]
        return "".join(f"{digest}  {json.dumps(path)}\n" for digest, path in zip(digests, self.paths, strict=True))

    def listed(self, listing: str) -> Identity:
        """The same with the images of a listing; without them if it is damaged or lists others."""
        try:
            pairs = [line.split("  ", 1) for line in listing.splitlines()]
            each, paths = bytes.fromhex("".join(digest for digest, _ in pairs)), [json.loads(path) for _, path in pairs]
        except ValueError:
            return self
        if len(each) != BYTES * self.count or _of_all(each) != self.digest:
            return self
        return Identity(self.count, self.digest, each, tuple(paths))


def identify(images: ImageSet) -> Identity:
    """The identity of these images; every pixel is read once, unless that was done while files were decoded."""
    known = images.facts is not None and len(images.facts) == len(images.images)
    each = images.facts.rows["digest"].tobytes() if images.facts is not None and known else _digests(images.images)
    return Identity(len(images.images), _of_all(each), each, images.paths)


def difference(before: Identity, now: Identity) -> str:
    """In words, how the images differ from those of before; empty if they are the same in the same order."""
    if before.digest == now.digest:
        return ""
    if before.each is None or now.each is None or before.paths is None or now.paths is None:
        return f"{pluralize(before.count, 'image')} then, {now.count:,} now, of other pixels"
    then, here = _by_path(before), _by_path(now)
    kinds = {
        "with other pixels": [path for path in here if path in then and then[path] != here[path]],
        "gone": [path for path in then if path not in here],
        "new": [path for path in here if path not in then],
    }
    counts = f"{before.count:,} then, {now.count:,} now"
    return "; ".join([counts, *(f"{len(paths):,} {kind}: {_names(paths)}" for kind, paths in kinds.items() if paths)])


def _by_path(images: Identity) -> dict[str, bytes]:
    assert images.paths is not None and images.each is not None
    return {path: images.each[BYTES * i : BYTES * (i + 1)] for i, path in enumerate(images.paths)}


def _names(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - NAMED:,} more" if len(paths) > NAMED else ""
    return ", ".join(shown(path) for path in paths[:NAMED]) + more


def _of_all(each: bytes) -> str:
    return hashlib.sha256(each).hexdigest()[:32]


def _digests(images_NCHW: Tensor) -> bytes:
    """BYTES bytes for each of the images, by as many threads as there are processors: hashing needs no GIL."""

    def of(part: Tensor) -> bytes:
        return digests(part.cpu().contiguous().numpy())

    with ThreadPoolExecutor(threads.available()) as pool:
        return b"".join(pool.map(of, images_NCHW.split(TOGETHER)))
