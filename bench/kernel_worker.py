"""Some rows of the kernels' tables in a process of their own: `python -m bench.kernel_worker NAME`.

What it is asked, and answers (bench/process.py), for KEY = [op, row, *size]:
{"prepare": KEY} makes a row ready, {"time": KEY} times one round of it, {"forget": true} frees all that is ready;
{"light": true} measures what a GPU can do. An answer {"error": ...} says what a row raised.
"""

from __future__ import annotations

import gc
import signal
import warnings
from typing import Any

import torch

from bench.kernel_rows import products, rows
from bench.process import said, serve
from bench.timing import DEVICE, ROUNDS, Candidate

CUDA = DEVICE.type == "cuda"
COPIED = 2**29  # bytes
# Sides of the square matrices that are multiplied; "fp16" holds what "tf32" rounds to.
SIDES = {"bf16": 8192, "fp16": 8192, "tf32": 8192, "ieee": 4096}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def _best(call: Any) -> float:
    candidate = Candidate(call)
    return min(candidate.time() for _ in range(ROUNDS))


def light() -> dict[str, Any]:
    """Bytes a second that a copy reads and writes, and FLOP a second of products, each the best of some rounds."""
    source = torch.empty(COPIED, dtype=torch.uint8, device=DEVICE).fill_(1)
    target = torch.empty_like(source)
    found: dict[str, float] = {}
    copy = 2 * COPIED / _best(lambda: target.copy_(source))
    for name, side in SIDES.items():
        a, b = torch.randn(2, side, side, device=DEVICE).to(DTYPES.get(name, torch.float32))
        with products("tf32" if name == "tf32" else "ieee"):
            found[name] = 2.0 * side**3 / _best(lambda a=a, b=b: a @ b)
    return {"copy": copy, "products": found}


class Worker:
    """What has been made ready, by key."""

    def __init__(self) -> None:
        self.ready: dict[tuple[Any, ...], Candidate] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """An answer to any request, also of one that fails."""
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001 - whatever a rival raises is a line of the table
            return {"error": said(error)}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        ((what, given),) = request.items()
        if what == "light":
            return light()
        if what == "forget":
            self.ready.clear()
            torch._dynamo.reset()  # other sizes count against a limit, past which nothing is compiled
            gc.collect()
            if CUDA:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            return {}
        op, name, *size = given
        (row,) = (row for row in rows(op) if row.name == name)
        with products(row.precision):
            if what == "time":
                return {"seconds": self.ready[tuple(given)].time()}
            candidate = self.ready[tuple(given)] = Candidate(row.build(*size))
        return {"peak_mib": candidate.peak_mib, "captured": candidate.captured}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupted bench has its tables, and needs no traceback
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rival's affair
        serve(lambda: Worker().answer)
