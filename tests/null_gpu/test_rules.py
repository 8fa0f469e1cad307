"""The null GPU itself: it counts what is captured, and notices what a device would not have borne."""

from __future__ import annotations

from typing import Any

import pytest

from null_gpu.child import run, told

CALLS = """
import ctypes, json, torch
from null_gpu.seen import graphs, problems, trace, waits

x = torch.ones(3, device="cuda")
side, total, host, cuda = torch.cuda.Stream(), x.sum(), torch.ones(3), ctypes.CDLL("libcuda.so.1")

def captured(call):
    before, known, count = torch.cuda.current_stream(), problems(), len(graphs())
    try:
        with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
            call()
    except RuntimeError as error:
        torch.cuda.set_stream(before)
    return {"graphs": [len(graph) for graph in graphs()[count:]], "problems": sorted((problems() - known).elements())}

def several():
    y = x + 1
    y *= 2
    y.copy_(x)

def pageable():  # torch would refuse it by itself
    place, stream = host.data_ptr(), torch.cuda.current_stream().cuda_stream
    cuda.cudaMemcpyAsync(*map(ctypes.c_void_p, (x.data_ptr(), place, 12, 1, stream)))

def beside():
    with torch.cuda.stream(side):
        x.add_(1)

def unjoined():
    side.wait_stream(torch.cuda.current_stream())
    beside()

def joined():
    unjoined()
    torch.cuda.current_stream().wait_stream(side)

calls = [several, total.item, torch.cuda.synchronize, pageable, beside, unjoined, joined]
found = {call.__name__: captured(call) for call in calls}
found["after them"] = captured(several)
found["launches"] = len(trace(several))
found["waits"] = [sum(waits(call).values()) for call in (several, x.cpu, total.item)]
print(json.dumps(found))
"""

# A thread of autograd's name that is still at work when the process is about to end.
ENDS = """
import hashlib, threading
from pathlib import Path
import null_gpu.seen

def late():
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("pt_autograd_0")
    begun.set()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)  # without the lock of Python
    print("put away", flush=True)

begun = threading.Event()
threading.Thread(target=late, daemon=True).start()
begun.wait()
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the null GPU saw of each call above, by its name."""
    result: dict[str, Any] = told("-c", CALLS)
    return result


def test_launches_nodes_and_waits_are_counted(found: dict[str, Any]) -> None:
    assert found["several"] == found["after them"] == {"graphs": [3], "problems": []}
    assert found["joined"] == {"graphs": [1], "problems": []}
    assert found["launches"] == 3
    none, *some = found["waits"]
    assert none == 0 and all(some)


@pytest.mark.parametrize(
    "call, problem",
    [
        ("item", "in a capture: cudaStreamSynchronize of its stream"),
        ("synchronize", "in a capture: cudaDeviceSynchronize"),
        ("pageable", "in a capture: a copy of pageable memory, host to device"),
        ("unjoined", "a capture ends before stream "),
    ],
)
def test_what_breaks_a_capture_is_a_problem(call: str, problem: str, found: dict[str, Any]) -> None:
    assert found[call]["graphs"] == [] and any(said.startswith(problem) for said in found[call]["problems"]), found


def test_what_is_launched_beside_a_capture_is_a_problem(found: dict[str, Any]) -> None:
    (said,) = found["beside"]["problems"]
    assert said.startswith("launched beside the capture, on stream ")


def test_a_process_ends_after_autograds_threads_have_put_away_what_they_hold() -> None:
    """Otherwise torch 2.11 ends it with SIGABRT, now and then on a busy machine."""
    assert run("-c", ENDS) == "put away\n"
