"""What a command is doing and how far it is: never silent for long, whatever it waits for.

    with stage("training the judge", total=60_000) as judged:
        judged.update(128)

In a terminal a stage is a bar. Elsewhere it is a line FIRST seconds after its begin, if it takes so long, and from then
on one every EVERY seconds. A thread of its own writes them, since the main one may be in a single call for minutes. Of
stages within each other the innermost speaks.

Importing this needs the standard library alone: loading torch is the first stage of a command.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

FIRST, EVERY = 8.0, 25.0  # seconds: a reader of a log waits 15 for the first figure and 30 for the next, at most
BEAT = 0.5  # seconds between two looks at the clock
SHOWN_AFTER = 1.0  # seconds before a terminal shows a bar: what is shorter would only flicker


class Stage:
    """One thing that a command does.

    Args:
        name: what it does, as a line begins.
        total: of `unit`s to do; None where nobody knows.
        done: how many are done as it begins.
        silent: says nothing (a rank that does not speak for all).
        place: from how many are done to how far that is, in words; left out, their share of the total.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        total: int | None = None,
        unit: str = "images",
        done: int = 0,
        silent: bool = False,
        place: Callable[[int], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self.unit, self.silent, self._place = name, total, unit, silent, place
        self.done, self._first = done, done
        self._note = ""
        self.bar: Any = None
        self._clock = clock
        self._began = self._marked_at = clock()
        self._marked, self._idle, self._idle_at_mark = done, 0.0, 0.0
        self._paused_at: float | None = None
        self.spoke = False

    def update(self, count: int) -> None:
        """`count` more are done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)

    def tell(self, note: str) -> None:
        """What is known besides, for the next lines and the bar."""
        self._note = note
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, something else is done: its time is no part of the rate."""
        begin = self._paused_at = self._clock()
        try:
            yield
        finally:
            self._idle += self._clock() - begin
            self._paused_at = None
            if self.bar is not None:
                self.bar.unpause()

    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    def left(self) -> str:
        """About how long the rest will take, pauses like those so far included; empty where nobody knows."""
        done, rest = self.done - self._first, (self.total or 0) - self.done
        if done <= 0 or rest <= 0:
            return ""
        seconds = self.seconds() * rest / done
        minutes = round(seconds / 60)
        if seconds < 90:
            return f"about {max(round(seconds), 1)} s left"
        return f"about {minutes} min left" if minutes < 90 else f"about {minutes // 60} h {minutes % 60:02d} min left"

    def line(self) -> str:
        """How far it is, and its rate since the last line."""
        now = self._clock()
        idle = self._idle + (0.0 if self._paused_at is None else now - self._paused_at)
        done, seconds = self.done - self._marked, now - self._marked_at - (idle - self._idle_at_mark)
        self._marked, self._marked_at, self._idle_at_mark = self.done, now, idle
        if self.total is None:
            return f"{self.name}: {self.seconds():.0f} s so far" + (f"; {self._note}" if self._note else "")
        rate = f"{done / seconds:,.0f} {self.unit}/s" if done and seconds > 0 else ""
        share = f"{self.done / max(self.total, 1):.1%} of {self.total:,} {self.unit}"
        known = (share if self._place is None else self._place(self.done), self._note, rate, self.left())
        return f"{self.name}: {', '.join(filter(None, known))}"


class Speaker:
    """Writes what the innermost of the stages under way has to say, when it is due.

    With a `label`, of what is one of several at once, its lines begin with that, and no stage is a bar.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.label = ""
        self._stages: list[Stage] = []
        self._lock = threading.RLock()
        self._said_at = clock()
        self._thread: threading.Thread | None = None

    def forget(self) -> None:
        """In a forked child: the stages, the thread, and the lock, which it may hold just then, are the parent's."""
        self._stages, self._lock, self._thread = [], threading.RLock(), None

    def begin(self, stage: Stage) -> None:
        """From here on `stage` is the innermost."""
        with self._lock:
            if not self._stages:  # nobody waited for a line before
                self._said_at = self._clock()
            self._stages.append(stage)
        if _in_terminal() and not stage.silent and not self.label:
            stage.bar = _bar(stage)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="stages", daemon=True)
            self._thread.start()

    def end(self, stage: Stage) -> None:
        """The stage is over, and with it whatever began within it."""
        with self._lock:
            if stage in self._stages:
                del self._stages[self._stages.index(stage) :]
        if stage.bar is not None:
            stage.bar.close()

    def say(self, line: str) -> None:
        """Write a line, above any bar."""
        with self._lock:
            self._said_at = self._clock()
            if any(stage.bar is not None for stage in self._stages):
                self._stages[-1].bar.write(line, file=sys.stderr)
            else:  # in one piece: other threads and processes write lines too
                print(f"{self.label}: {line}\n" if self.label else f"{line}\n", end="", file=sys.stderr, flush=True)

    def due(self) -> Stage | None:
        """The stage that has something to say now."""
        with self._lock:
            if not self._stages or self._stages[-1].silent:
                return None
            stage, silence = self._stages[-1], self._clock() - self._said_at
            new = not stage.spoke and stage.seconds() >= FIRST and silence >= FIRST
            return stage if new or silence >= EVERY else None

    def look(self) -> None:
        """Say what is due."""
        with self._lock:
            stage = self._stages[-1] if self._stages else None
            if stage is not None and stage.bar is not None:
                if stage.seconds() >= SHOWN_AFTER:
                    stage.bar.refresh()
                return
            stage = self.due()
            if stage is not None:
                stage.spoke = True
                self.say(stage.line())

    def _run(self) -> None:
        while True:
            time.sleep(BEAT)
            try:
                self.look()
            except (OSError, ValueError):  # nobody reads stderr any more, or it is closed
                return


SPEAKER = Speaker()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SPEAKER.forget)
LOADING = Stage("loading libraries")
_of_thread = threading.local()  # its speaker, where it has one of its own


def _speaker() -> Speaker:
    speaker: Speaker = getattr(_of_thread, "speaker", SPEAKER)
    return speaker


@contextmanager
def named(label: str) -> Iterator[None]:
    """Within, what this thread does is one of several things at once, and its lines begin with `label`."""
    if not hasattr(_of_thread, "speaker"):
        _of_thread.speaker = Speaker()
    speaker: Speaker = _of_thread.speaker
    speaker.label = label
    try:
        yield
    finally:
        speaker.label = ""


@contextmanager
def stage(name: str, total: int | None = None, **more: Any) -> Iterator[Stage]:
    """Within, a command does what `Stage` says, which takes the same arguments."""
    one, speaker = Stage(name, total, **more), _speaker()
    speaker.begin(one)
    try:
        yield one
    finally:
        speaker.end(one)


def load() -> None:
    """Begin the stage of loading libraries, which takes seconds, and from a cold disk many; `loaded` ends it."""
    say("loading libraries ...")
    SPEAKER.begin(LOADING)


def loaded() -> None:
    """The libraries are there; without effect where `load` was not called."""
    SPEAKER.end(LOADING)


def say(line: str) -> None:
    """Write a line to stderr, above any bar."""
    _speaker().say(line)


def _in_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _bar(stage: Stage) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=stage.total,
        initial=stage.done,
        desc=stage.name,
        unit=f" {stage.unit}",
        unit_scale=True,
        dynamic_ncols=True,
        delay=SHOWN_AFTER,
        leave=False,
        bar_format=None if stage.total is not None else "{desc}: {elapsed}",
    )
