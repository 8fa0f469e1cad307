"""A row of a table in a process of its own, which is asked line by line: the asking side and the answering side.

Each line of the process's standard input is a JSON object, and each is answered by one on its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def said(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class Process:
    """`python -m MODULE ARGV...`, which waits idly until it is asked.

    Rows in one process would share a heap, and what one row leaves of it decides what the next one's memory costs.
    """

    def __init__(self, module: str, *argv: str) -> None:
        self._name = " ".join((module, *argv))
        command = [sys.executable, "-m", module, *argv]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, limit: float | None = None, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer; RuntimeError if the process has ended.

        Args:
            limit: seconds after which the process is ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        begin = time.monotonic()
        timer = threading.Timer(threading.TIMEOUT_MAX if limit is None else limit, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            code, waited = self._process.wait(), time.monotonic() - begin
            late = "" if limit is None or waited < limit else f": longer than {limit:.0f} s"
            raise RuntimeError(f"{self._name} ended with {code}{late}")
        return dict(json.loads(line))

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # what it was asked and never read
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self.close()


def serve(make: Callable[[], Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """Make what answers requests, and answer them until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    answer = make()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
