"""Progress of a command: a bar in a terminal or notebook, lines at regular times elsewhere, even during one long call.

    with stage("training the judge", total=60_000) as progress:
        progress.update(128)

Without a terminal a stage prints its first line after FIRST seconds and then one every EVERY seconds. A separate thread
prints them, since the main thread may be in a single call for minutes. Of nested stages the innermost prints.

This module imports only the standard library: loading torch is the first stage of a command.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

FIRST, EVERY = 8.0, 25.0  # seconds; a log has its first line within 15 and then one at least every 30
BEAT = 0.5  # seconds between two checks of the clock
SHOWN_AFTER = 1.0  # seconds before a bar is shown: a shorter stage would only flicker


class Stage:
    """One part of a command's work.

    Args:
        name: of the work, the beginning of each line.
        total: number of `unit`s to do; None if unknown.
        done: how many are done at the start.
        silent: print nothing (on ranks other than the main one).
        place: describes the position for the number done; by default its share of the total.
        clock: in seconds.
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
        self.note = ""
        self.bar: Any = None
        self._clock = clock
        self._began = self._marked_at = clock()
        self._marked, self._idle, self._idle_at_mark = done, 0.0, 0.0
        self._paused_at: float | None = None
        self.spoke = False

    def update(self, count: int) -> None:
        """Count `count` more units as done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)

    def set_note(self, note: str) -> None:
        """Set a note, such as the losses, for the next lines and the bar."""
        self.note = note
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within, something else is done, whose time does not count in the rate."""
        begin = self._paused_at = self._clock()
        try:
            yield
        finally:
            self._idle += self._clock() - begin
            self._paused_at = None
            if self.bar is not None:
                self.bar.unpause()

    def place(self) -> str:
        """The position in words; empty where its share of the total says it."""
        return "" if self._place is None else self._place(self.done)

    def rate(self) -> float:
        """Units a second since the start, without pauses; 0 if unknown."""
        worked = self.seconds() - self._idle
        return (self.done - self._first) / worked if worked > 0 else 0.0

    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began

    def left(self) -> str:
        """Estimated time left, including pauses at the rate so far; empty if unknown."""
        done, rest = self.done - self._first, (self.total or 0) - self.done
        if done <= 0 or rest <= 0:
            return ""
        seconds = self.seconds() * rest / done
        minutes = round(seconds / 60)
        if seconds < 90:
            return f"about {max(round(seconds), 1)} s left"
        return f"about {minutes} min left" if minutes < 90 else f"about {minutes // 60} h {minutes % 60:02d} min left"

    def line(self) -> str:
        """The next line: position, note, rate since the last line and time left."""
        now = self._clock()
        idle = self._idle + (0.0 if self._paused_at is None else now - self._paused_at)
        done, seconds = self.done - self._marked, now - self._marked_at - (idle - self._idle_at_mark)
        self._marked, self._marked_at, self._idle_at_mark = self.done, now, idle
        if self.total is None:
            return f"{self.name}: {self.seconds():.0f} s so far" + (f"; {self.note}" if self.note else "")
        rate = f"{done / seconds:,.0f} {self.unit}/s" if done and seconds > 0 else ""
        share = f"{self.done / max(self.total, 1):.1%} of {self.total:,} {self.unit}"
        known = (self.place() or share, self.note, rate, self.left())
        return f"{self.name}: {', '.join(filter(None, known))}"


class Speaker:
    """Prints the line of the innermost active stage when it is due.

    With a `label` (one of several runs at once) each line begins with it, and no stage has a bar.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.label = ""
        self._stages: list[Stage] = []
        self._lock = threading.RLock()
        self._printed_at = clock()
        self._thread: threading.Thread | None = None

    def reset_after_fork(self) -> None:
        """Reset in a forked child: stages, thread and lock, which may be held at the fork, belong to the parent."""
        self._stages, self._lock, self._thread = [], threading.RLock(), None

    def begin(self, stage: Stage) -> None:
        """Start `stage` as the innermost one."""
        with self._lock:
            if not self._stages:  # the wait for a line begins now
                self._printed_at = self._clock()
            self._stages.append(stage)
        if not stage.silent and not self.label:
            if _in_terminal():
                stage.bar = _bar(stage)
            elif stage.total is not None and in_notebook():
                stage.bar = _notebook_bar(stage)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="stages", daemon=True)
            self._thread.start()

    def end(self, stage: Stage) -> None:
        """End `stage` and all stages within it."""
        with self._lock:
            if stage in self._stages:
                del self._stages[self._stages.index(stage) :]
        if stage.bar is not None:
            stage.bar.close()

    def say(self, line: str) -> None:
        """Print a line to stderr, above any bar."""
        with self._lock:
            self._printed_at = self._clock()
            bars = [stage.bar for stage in self._stages if stage.bar is not None]
            if bars:
                bars[-1].write(line, file=sys.stderr)
            else:  # one write: other threads and processes print lines too
                print(f"{self.label}: {line}\n" if self.label else f"{line}\n", end="", file=sys.stderr, flush=True)

    def due(self) -> Stage | None:
        """The stage whose line is due now, if any."""
        with self._lock:
            if not self._stages or self._stages[-1].silent:
                return None
            stage, silence = self._stages[-1], self._clock() - self._printed_at
            new = not stage.spoke and stage.seconds() >= FIRST and silence >= FIRST
            return stage if new or silence >= EVERY else None

    def check(self) -> None:
        """Print the line, or refresh the bar, that is due."""
        with self._lock:
            stage = self._stages[-1] if self._stages else None
            if stage is not None and stage.bar is not None:
                # A notebook shows a bar below the cell whose thread shows it first: not from here.
                if stage.seconds() >= SHOWN_AFTER and getattr(stage.bar, "displayed", True):
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
                self.check()
            except (OSError, ValueError):  # stderr is closed, or its reader is gone
                return


SPEAKER = Speaker()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SPEAKER.reset_after_fork)
LOADING = Stage("loading libraries")
_of_thread = threading.local()  # the speaker of a thread that has its own


def _speaker() -> Speaker:
    speaker: Speaker = getattr(_of_thread, "speaker", SPEAKER)
    return speaker


@contextmanager
def named(label: str) -> Iterator[None]:
    """Within, lines that this thread prints begin with `label`: it does one of several runs at once."""
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
    """Within, a stage is active; arguments as for `Stage`."""
    one, speaker = Stage(name, total, **more), _speaker()
    speaker.begin(one)
    try:
        yield one
    finally:
        speaker.end(one)


def load() -> None:
    """Begin the stage of loading libraries, which takes seconds, longer from a cold disk; `loaded` ends it."""
    say("loading libraries ...")
    SPEAKER.begin(LOADING)


def loaded() -> None:
    """End the stage that `load` began; no effect without it."""
    SPEAKER.end(LOADING)


def say(line: str) -> None:
    """Print a line to stderr, above any bar."""
    _speaker().say(line)


def _in_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def in_notebook() -> bool:
    """Whether stderr is shown below a cell of a notebook; not where it is redirected."""
    return hasattr(sys.stderr, "pub_thread")  # of ipykernel's streams


def _bar(stage: Stage) -> Any:
    from fastgan.runtime.bar import StageBar

    return StageBar(stage, **_shown(stage))


def _notebook_bar(stage: Stage) -> Any:
    """A widget where ipywidgets is installed, else a line of text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no widgets
        from tqdm.auto import tqdm
    return tqdm(**_shown(stage))


def _shown(stage: Stage) -> dict[str, Any]:
    rate = {"unit": f" {stage.unit}", "unit_scale": True}
    shown = {"total": stage.total, "initial": stage.done, "desc": stage.name, "leave": False, "delay": SHOWN_AFTER}
    return shown | rate
