"""A capture that fails, on the null GPU: the process goes on where it was."""

from __future__ import annotations

from null_gpu.child import run

FAILS = """
import torch
from bench.timing import compare
from fastgan.training.cuda_graphs import CudaGraphRunner
from fastgan.errors import ConfigError

device = torch.device("cuda")
before, x = torch.cuda.current_stream(), torch.zeros((), device=device)
draw = lambda: torch.randn(3, device=device)

timing = compare({"waits": x.item, "draws": draw})
assert not timing["waits"].captured and timing["draws"].captured, timing
assert torch.cuda.current_stream() == before
assert not compare({"waits": x.item})["waits"].captured
draw()  # which torch's generator refuses in the middle of a capture

try:
    CudaGraphRunner(x.item, lambda: {}, device=device).prepare()
except ConfigError as error:
    assert "not permitted when stream is capturing" in str(error), error
else:
    raise AssertionError("captured")
assert torch.cuda.current_stream() == before
"""


def test_a_capture_that_fails_leaves_its_stream() -> None:
    """Of a benchmark's rival, after which others are timed, and of a step."""
    run("-c", FAILS)
