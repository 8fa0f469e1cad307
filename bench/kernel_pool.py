"""Times the kernels' rows in processes of their own, so that a rival that crashes or hangs spoils no other row."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import Any

from bench.kernel_rows import Row
from bench.process import Process, said
from bench.timing import Timing, in_turns, summary

LIMIT = 240.0  # seconds for one answer; a compiler on a slow host takes most of them


class Pool:
    """A process for all rows that name the same one, started when it is first needed.

    Args:
        module: what the processes run.
    """

    def __init__(self, module: str = "bench.kernel_worker", limit: float = LIMIT) -> None:
        self.module, self.limit = module, limit
        self._processes: dict[str, Process] = {}
        self._fatal: dict[tuple[str, str], str] = {}
        """What ended a process, by op and row: it is not tried again."""

    def start(self, names: Sequence[str]) -> None:
        """Start processes, which then import side by side."""
        for name in names:
            if name not in self._processes:
                self._processes[name] = Process(self.module, name)

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """A process's answer; {"error": ...} where it failed, with "ended" where it is no more."""
        self.start([name])
        try:
            return self._processes[name].ask(self.limit, **request)
        except (RuntimeError, OSError, ValueError) as error:  # its end, a pipe that it closed, half an answer
            with suppress(OSError):
                self._processes.pop(name).kill()
            return {"error": said(error), "ended": True}

    def compare(self, op: str, rows: Sequence[Row], size: Sequence[int]) -> tuple[dict[str, Timing], dict[str, str]]:
        """Make rows of one size ready, each process's at the same time, and time them in turns.

        Returns the timings, and why the other rows have none.
        """
        failed: dict[str, str] = {}
        prepared: dict[str, dict[str, Any]] = {}
        seconds: dict[str, list[float]] = {}
        by_name = {row.name: row for row in rows}

        def ask(row: Row, what: str) -> dict[str, Any] | None:
            found = self.ask(row.process, **{what: [op, row.name, *size]})
            if "error" not in found:
                return found
            failed[row.name] = found["error"]
            if "ended" in found:
                self._fatal[op, row.name] = f"{found['error']}, at {' x '.join(map(str, size))}"
            return None

        def prepare(process: str) -> None:
            for row in rows:
                if row.process != process:
                    continue
                if (op, row.name) in self._fatal:
                    failed[row.name] = self._fatal[op, row.name]
                elif (found := ask(row, "prepare")) is not None:
                    prepared[row.name], seconds[row.name] = found, []

        processes = {row.process for row in rows}
        with ThreadPoolExecutor(len(processes)) as threads:
            list(threads.map(prepare, processes))
        for name in chain.from_iterable(in_turns(list(prepared))):
            if name not in failed and (found := ask(by_name[name], "time")) is not None:
                seconds[name].append(found["seconds"])
        for process in processes & self._processes.keys():
            if "error" in self.ask(process, forget=True) and process in self._processes:
                self._processes.pop(process).kill()  # its device is in a bad state
        return {
            name: summary(seconds[name], found["peak_mib"], found["captured"])
            for name, found in prepared.items()
            if name not in failed
        }, failed

    def close(self) -> None:
        """End all processes."""
        while self._processes:
            self._processes.popitem()[1].kill()
