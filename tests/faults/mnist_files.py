"""MNIST's idx files, archives and downloads: cases 18, 19 and 23."""

from __future__ import annotations

import ast
import gzip
import hashlib
import http.server
import random
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fastgan.data import mnist
from fastgan.errors import DataError
from faults import Result, children

NAMES = [name for name, _ in mnist.FILES.values()]


def idx(*shape: int) -> bytes:
    """An idx file of zeros."""
    size = 1
    for side in shape:
        size *= side
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + bytes(size)


def good_files() -> dict[str, bytes]:
    """Twelve training and six test images."""
    return dict(zip(NAMES, (idx(12, 28, 28), idx(12), idx(6, 28, 28), idx(6)), strict=True))


def damaged(count: int, folder: Path) -> Result:
    """An idx file cut, grown or with another header, plain and gzip in turn; labels that do not match the images."""
    draw, result = random.Random(0), Result()
    for number in range(count):
        here = folder / f"mnist-{number}"
        here.mkdir()
        files = good_files()
        name = NAMES[number % 4]
        kind = ("cut", "grown", "header", "count", "missing")[number // 4 % 5]
        whole = files[name]
        sizes = r"expected .*found (more than )?\d+"
        if kind == "cut":
            files[name] = whole[: draw.randrange(len(whole))]
        elif kind == "grown":
            files[name] = whole + bytes(draw.randrange(1, 99))
        elif kind == "header":
            files[name] = bytes(4) + whole[4:]
            sizes = "begins with 00000000, expected 0000080[13]"
        elif kind == "count":
            shape = (13, 28, 28) if "images" in name else (13,)
            files[name] = idx(*shape)
            sizes = r"\d+ (train|test) images but \d+ labels"
        else:
            del files[name]
            sizes = "missing"
        packed = number % 2 == 1
        for each, content in files.items():
            (here / f"{each}{'.gz' if packed else ''}").write_bytes(gzip.compress(content) if packed else content)
        try:
            mnist.parts(here)
            result.count(f"{name} {kind}: accepted")
        except DataError as error:
            named = str(here) if kind == "count" else name
            result.count(
                not re.search(sizes, str(error)) and f"{name} {kind}: {error}",
                named not in str(error) and f"{name} {kind}: not named: {error}",
            )
    return result


def archives(count: int, folder: Path) -> Result:
    """No code of ours unpacks an archive: read off the source."""
    result = Result()
    for path in sorted((children.ROOT / "fastgan").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        names |= {node.name for node in nodes if isinstance(node, ast.alias)}
        unpacks = names & {"tarfile", "zipfile", "unpack_archive", "extract_archive", "extractall"}
        result.count(bool(unpacks) and f"{path.name} uses {sorted(unpacks)}")
    result.note = (
        "no archive is unpacked by our code: files of fastgan that were read for it. gzip files hold one stream "
        "without a name; torchvision unpacks the archives of CIFAR-10 and EMNIST, whose MD5 sums it has checked"
    )
    return result


# --- case 23 ---


@contextmanager
def _serving(answer: dict[str, bytes], status: int = 200, cut: int = 0) -> Iterator[str]:
    """A local server of these files; `cut`: bytes at their end that it promises and does not send."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            content = answer.get(self.path.rpartition("/")[2], b"")
            self.send_response(status if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) - cut])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def _from(mirror: str, sums: dict[str, str]) -> None:
    from torchvision.datasets import MNIST

    MNIST.mirrors = [mirror]
    MNIST.resources = [(f"{name}.gz", sums[name]) for name in NAMES]


def _parts(mirror: str, sums: dict[str, str], here: Path) -> int:
    _from(mirror, sums)
    train, test = mnist.parts(here)
    return 0 if len(train.images) == 12 and len(test.images) == 6 else 1


def out_of_reach(count: int, folder: Path) -> Result:
    """A closed port, files with another hash, an answer that breaks off, 404; then a server that works again."""
    result = Result()
    good = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in good_files().items()}
    sums = {name: hashlib.md5(good[f"{name}.gz"]).hexdigest() for name in NAMES}
    wrong = {name: content + b"x" for name, content in good.items()}
    half = {name: content if "train" in name else content + b"x" for name, content in good.items()}
    flags = ["--dataset", "mnist", "--device", "cpu", "--imbalance", "none", "--data-dir"]
    for number in range(count):
        case = ("closed port", "other hash", "breaks off", "not found", "other hash of the third")[number % 5]
        here, log = folder / f"data-{number}", folder / f"{number}.log"
        with _serving(
            wrong if case == "other hash" else half if case.endswith("third") else good,
            404 if case == "not found" else 200,
            20 if case == "breaks off" else 0,
        ) as server:
            mirror = _closed_port() if case == "closed port" else server
            ended = children.run([*flags, str(here)], log, partial(_from, mirror, sums), cwd=folder)
        left = [path.name for path in here.rglob("*")] if here.exists() else []
        with _serving(good) as server:
            again = children.call(partial(_parts, server, sums, here), log)
        result.count(
            ended.complaint(2, str(here), "cannot be downloaded", "--data-dir", *NAMES),
            case == "closed port" and bool(left) and f"{case}: left {left}",
            again.complaint(0) and f"{case}: the next attempt fails: {again.said.strip()[-500:]}",
        )
    result.note = "the error names the four files and where to put them; once the server works, the same command does"
    return result
