"""A capture that fails, on the null GPU: the process goes on where it was."""

from __future__ import annotations

from null_gpu.child import run

BEGIN = "import torch; device = torch.device('cuda'); before = torch.cuda.current_stream()\n"
END = "assert torch.cuda.current_stream() == before"


def test_a_step_that_cannot_be_captured_leaves_its_stream() -> None:
    call = """
from fastgan.captured import Iterations
from fastgan.errors import ConfigError
x = torch.zeros((), device=device)
try:
    Iterations(lambda: x.item(), lambda: {}, device=device).prepare()
except ConfigError as error:
    assert "not permitted when stream is capturing" in str(error), error
else:
    raise AssertionError("captured")
"""
    run("-c", BEGIN + call + END)


def test_a_rival_that_cannot_be_captured_leaves_its_stream() -> None:
    call = """
from bench.timing import compare
x = torch.zeros((), device=device)
calls = {"waits": lambda: x.item(), "draws": lambda: torch.randn(3, device=device)}
timing = compare(calls)
assert not timing["waits"].captured and timing["draws"].captured, timing
assert not compare({"waits": calls["waits"]})["waits"].captured
calls["draws"]()
"""
    run("-c", BEGIN + call + END)
