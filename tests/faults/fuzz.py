"""Every reader of files that others may have written or damaged, on valid files with something changed.

Bytes are flipped, set, cut out, put in and doubled, and values of JSON replaced. A reader may take what is left or
refuse it with an error of the project's own; anything else, a hang or much memory is a loss. The inputs are the same
each time.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from fastgan.config.validation import validate
from fastgan.data import cache, decode, mnist
from fastgan.data.scan import scan
from fastgan.errors import FastganError
from fastgan.evaluation import judge
from fastgan.evaluation.judge_network import Judge, JudgeNetwork
from fastgan.inference import trained_run
from fastgan.runs import checkpoint, run_folder
from fastgan.runs.metrics_log import MetricsLog
from faults import Result, children, mnist_files
from faults.pictures import KINDS, saved

SECONDS = 30  # after which a reader is said to hang
MEMORY = 400 * 1024  # KiB; a picture of 50 megapixels takes some 200 MB while it is decoded
CPU = torch.device("cpu")
_TOKENS = 'null -1 0 1e999 NaN "x" [] {} true 0.5 "\\u0000" [[1]]'
TOKENS = [*_TOKENS.encode().split(), b"9" * 30]
VALUE = re.compile(rb'(?<=: )(?:"[^"]*"|[-+.\deE]+|true|false|null|\[[^\[\]]*\])')

Change = tuple[str, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "remove", "insert", "double", "value"]),
        st.integers(0, 1 << 20),
        st.binary(min_size=1, max_size=8) | st.sampled_from(TOKENS),
    ),
    min_size=1,
    max_size=5,
)


def changed(content: bytes, changes: Sequence[Change]) -> bytes:
    """A file with each change done in turn."""
    for kind, place, new in changes:
        at, length = place % (len(content) + 1), new[0] + 1
        if kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << new[0] % 8]) + content[at + 1 :]
        elif kind == "set":
            content = content[:at] + new + content[at + len(new) :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "remove":
            content = content[:at] + content[at + length :]
        elif kind == "insert":
            content = content[:at] + new + content[at:]
        elif kind == "double":
            content = content[:at] + content[at : at + length] + content[at:]
        elif kind == "value" and (found := list(VALUE.finditer(content))):
            value = found[place % len(found)]
            content = content[: value.start()] + TOKENS[new[0] % len(TOKENS)] + content[value.end() :]
    return content


Reader = Callable[[bytes], object]


@dataclass(frozen=True)
class Target:
    """A reader: `prepare` makes, in a folder, the valid files and the function that reads one of them."""

    done: str
    prepare: Callable[[Path], tuple[list[bytes], Reader]]

    def run(self, count: int, folder: Path) -> Result:
        """Read `count` changed files."""
        valid, read = self.prepare(folder)
        result = Result()
        for content in valid:
            read(content)  # an error here is the harness's
        refused = 0

        def attempt(content: bytes) -> str:
            nonlocal refused
            try:
                with _in_time(), contextlib.redirect_stderr(io.StringIO()):
                    read(content)
            except FastganError as error:
                refused += 1
                return f"{len(str(error).splitlines())} lines: {error}" if "\n" in str(error) else ""
            except BaseException as error:  # noqa: BLE001 - whatever it is, no user may meet it
                if isinstance(error, KeyboardInterrupt):
                    raise
                return f"{type(error).__name__}: {error} of {content[:300]!r}"
            return ""

        @settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(which=st.integers(0, len(valid) - 1), changes=CHANGES)
        def one(which: int, changes: list[Change]) -> None:
            result.count(attempt(changed(valid[which], changes)))

        with _memory(result):
            one()
            deep = b"[" * 200_000  # deeper than a parser of JSON may go
            result.count(attempt(deep))
            result.count(attempt(b""))
        result.note = f"{refused:,} refused with an error of ours, the others read, left out or made anew"
        return result


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _resident(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


@contextlib.contextmanager
def _memory(result: Result) -> Iterator[None]:
    """Counts as one try that resident memory grew by no more than MEMORY."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew from here
    before = _resident("VmRSS")
    yield
    grown = _resident("VmHWM") - before
    result.count(grown > MEMORY and f"resident memory grew by {grown:,} KiB")


# --- the readers ---


def _idx(folder: Path) -> tuple[list[bytes], Reader]:
    plain = mnist_files.idx(5, 4, 3)[:-4] + b"\x01\x02\x03\x04"

    def read(content: bytes) -> None:
        (folder / "file").write_bytes(content)
        assert mnist.read_idx(folder / "file", 3).dim() == 3

    return [plain, gzip.compress(plain, mtime=0)], read


def _images(folder: Path) -> tuple[list[bytes], Reader]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    valid = [saved(image.convert("L") if kind == "PPM" else image, kind) for kind in KINDS.values()]
    valid += [saved(image.convert("P")), saved(image.convert("LA"), "PNG"), saved(image.convert("CMYK"), "TIFF")]
    valid += [saved(image, "TIFF", compression="tiff_lzw"), saved(image, "JPEG", progressive=True)]

    def read(content: bytes) -> None:
        with decode.quiet():
            assert decode.decode(io.BytesIO(content), decode.Form(8, 3)).pixels.shape == (3, 8, 8)

    return valid, read


def _run(folder: Path) -> Path:
    """A tiny run; it is trained for a moment only, in a child."""
    run = folder / "run"
    ended = children.run([*children.TINY, "--epochs", "1", "--grouping.at", "--run-dir", str(run)], folder / "log")
    assert ended.code == 0, ended.said
    return run


def _settings(folder: Path) -> tuple[list[bytes], Reader]:
    run = _run(folder)

    def read(content: bytes) -> None:
        (run / "run.json").write_bytes(content)
        validate(run_folder.saved_config(run))

    return [(run / "run.json").read_bytes()], read


def _manifest(folder: Path) -> tuple[list[bytes], Reader]:
    parts = {"model": {"a": torch.ones(3)}, "training": {"b": torch.ones(2)}}
    path = checkpoint.save(folder / "checkpoints", 640, parts)

    def read(content: bytes) -> None:
        (path / checkpoint.MANIFEST).write_bytes(content)
        checkpoint.verify(path)

    return [(path / checkpoint.MANIFEST).read_bytes()], read


def _weights(folder: Path) -> tuple[list[bytes], Reader]:
    """Of a checkpoint whose hashes agree with what was changed, as somebody could make it who wants to do harm."""
    run = _run(folder)
    (path,) = (run / "checkpoints").iterdir()
    manifest = json.loads((path / checkpoint.MANIFEST).read_text())
    name = "model.safetensors"

    def read(content: bytes) -> None:
        (path / name).write_bytes(content)
        manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
        (path / checkpoint.MANIFEST).write_text(json.dumps(manifest))
        trained_run.load(run, CPU)

    whole = (path / name).read_bytes()
    return [whole], read


def _rows(folder: Path) -> tuple[list[bytes], Reader]:
    log = MetricsLog(folder / "metrics.jsonl")
    for seen in range(3):
        log.append({"images_seen": 64 * seen, "epoch": seen / 2, "d_loss": 1.25, "nmi": None, "unused_codes": 3})
    log.append({"images_seen": 192, "epoch": 1, "regrouped": 0.5})
    valid = log.path.read_bytes()

    def read(content: bytes) -> None:
        log.path.write_bytes(content)
        log.keep_until(100)
        for row in log.rows():
            assert row.get("images_seen", 0) <= 100

    return [valid], read


def _cached(folder: Path) -> tuple[Path, Reader]:
    here = folder / "images"
    here.mkdir()
    for name, colour in (("a.png", 10), ("b.png", 20)):
        (here / name).write_bytes(saved(Image.new("L", (8, 8), colour)))
    (here / "c.png").write_bytes(b"text")
    found = scan(here)
    kept = folder / "cache"
    file = cache.obtain(here, found, decode.Form(8, 1), chosen=kept).file

    def read(_: object) -> None:
        again = cache.obtain(here, found, decode.Form(8, 1), chosen=kept)
        assert again.images.shape == (len(again.paths), 1, 8, 8) and again.images.sum() >= 0

    return file, read


def _index(folder: Path) -> tuple[list[bytes], Reader]:
    file, again = _cached(folder)
    index = file.with_suffix(".json")
    valid, array = index.read_bytes(), file.read_bytes()

    def read(content: bytes) -> None:
        index.write_bytes(content)
        file.write_bytes(array)
        again(None)

    return [valid], read


def _array(folder: Path) -> tuple[list[bytes], Reader]:
    file, again = _cached(folder)
    index = file.with_suffix(".json")
    valid, kept = file.read_bytes(), index.read_bytes()

    def read(content: bytes) -> None:
        file.unlink(missing_ok=True)  # an earlier one may still be mapped
        file.write_bytes(content)
        index.write_bytes(kept)
        again(None)

    return [valid], read


def _judge(folder: Path) -> tuple[list[bytes], Reader]:
    path = folder / "judge.safetensors"
    judge._write(Judge(JudgeNetwork(1, 3, 8), 0.5, 0.9), path)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        judge._read(path, 8, 0.9, CPU)

    return [path.read_bytes()], read


TARGETS = {
    "idx": Target("changed idx files, plain and gzip", _idx),
    "images": Target("changed image files of eleven kinds", _images),
    "run.json": Target("changed settings", _settings),
    "manifest": Target("changed manifests of a checkpoint", _manifest),
    "weights": Target("changed weights under hashes that agree", _weights),
    "metrics.jsonl": Target("changed rows", _rows),
    "cache index": Target("changed index of decoded images", _index),
    "cache array": Target("changed array of decoded images", _array),
    "judge": Target("changed file of a judge", _judge),
}
