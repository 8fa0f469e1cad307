"""Progress of a command: when a line is due, what it contains, and that long calls do not stop it."""

from __future__ import annotations

import io
import sys
import threading
import time

import pytest

from fastgan.runtime import stages
from fastgan.runtime.stages import EVERY, FIRST, Speaker, Stage


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Quiet(Speaker):
    """Without a thread: the test calls check itself."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._thread = threading.current_thread()
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self._printed_at = self._clock()
        self.lines.append(line)


def test_lines_come_within_the_documented_times() -> None:
    """15 s to the first line, some of which loading may take, and 30 s to each further one."""
    assert FIRST + 2 * stages.BEAT <= 15 and EVERY + 2 * stages.BEAT <= 30


def test_lines_come_by_time_whatever_the_speed(clock: Clock) -> None:
    for step in (0.1, 1.0, 7.0):
        speaker, begin, times = Quiet(clock), clock.seconds, []
        one = Stage("training", 10_000, clock=clock)
        speaker.begin(one)
        while clock.seconds < begin + 100:
            clock.seconds += step
            one.update(1)
            speaker.check()
            if len(speaker.lines) > len(times):
                times.append(clock.seconds - begin)
        assert FIRST <= times[0] <= FIRST + step
        assert all(
            EVERY <= after - before <= EVERY + step + 1e-6 for before, after in zip(times, times[1:], strict=False)
        )
        assert len(times) >= 3


def test_only_the_innermost_stage_prints_and_a_short_one_does_not(clock: Clock) -> None:
    speaker = Quiet(clock)
    outer, inner = Stage("training", 100, clock=clock), Stage("evaluating", clock=clock)
    speaker.begin(outer)
    clock.seconds += FIRST
    speaker.check()
    speaker.begin(inner)
    clock.seconds += 2
    speaker.check()
    speaker.end(inner)
    assert [line.split(":")[0] for line in speaker.lines] == ["training"]
    slow = Stage("grouping the images", clock=clock)
    speaker.begin(slow)
    clock.seconds += FIRST
    speaker.check()
    speaker.check()
    assert speaker.lines[1:] == ["grouping the images: 8 s so far"]
    speaker.end(outer)  # and with it what began within it
    clock.seconds += EVERY
    speaker.check()
    assert len(speaker.lines) == 2


def test_silence_counts_from_the_first_stage(clock: Clock) -> None:
    speaker = Quiet(clock)
    clock.seconds += 1000
    speaker.begin(Stage("drawing", clock=clock))
    speaker.check()
    assert speaker.lines == []


def test_another_line_counts_as_a_sign_of_life(clock: Clock) -> None:
    speaker = Quiet(clock)
    speaker.begin(Stage("training", 100, clock=clock))
    clock.seconds += FIRST - 1
    speaker.say("epoch 1 of 2: NMI 0.5")
    clock.seconds += 2
    speaker.check()
    assert len(speaker.lines) == 1
    clock.seconds += FIRST
    speaker.check()
    assert len(speaker.lines) == 2


def test_a_silent_stage_hides_what_is_around_it(clock: Clock) -> None:
    speaker = Quiet(clock)
    speaker.begin(Stage("training", 100, silent=True, clock=clock))
    clock.seconds += 1000
    speaker.check()
    assert speaker.lines == []


def test_the_rate_is_of_the_work_alone(clock: Clock) -> None:
    """A grouping of 40 s in between does not count in the rate, but in the time left."""
    one = Stage("training", 4_000, done=1_000, clock=clock)
    clock.seconds += 10
    one.update(1_000)
    with one.paused():
        clock.seconds += 40
    assert one.line() == "training: 50.0% of 4,000 images, 100 images/s, about 2 min left"
    clock.seconds += 10
    one.update(500)
    one.set_note("d 1.2")
    assert one.line() == "training: 62.5% of 4,000 images, d 1.2, 50 images/s, about 60 s left"
    with one.paused():
        clock.seconds += 5
        assert one.line() == "training: 62.5% of 4,000 images, d 1.2, about 65 s left"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.1, "about 1 s left"),
        (40, "about 40 s left"),
        (89, "about 89 s left"),
        (100, "about 2 min left"),
        (3600, "about 60 min left"),
        (7500, "about 2 h 05 min left"),
    ],
)
def test_the_rest_takes_as_long_as_what_this_process_did(clock: Clock, seconds: float, expected: str) -> None:
    one = Stage("training", 1000, done=500, clock=clock)  # resumed at the half
    assert one.left() == ""
    clock.seconds += seconds / 4
    one.update(100)
    assert one.left() == expected
    one.update(400)
    assert one.left() == ""


def test_place_replaces_the_share(clock: Clock) -> None:
    one = Stage("training", 200, place=lambda done: f"epoch {done / 100:.1f} of 2", clock=clock)
    clock.seconds += 1
    one.update(150)
    assert one.line() == "training: epoch 1.5 of 2, 150 images/s, about 1 s left"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thread, with hundredths instead of seconds."""
    for name, value in (("FIRST", 0.08), ("EVERY", 0.25), ("BEAT", 0.005)):
        monkeypatch.setattr(stages, name, value)
    monkeypatch.setattr(stages, "SPEAKER", Speaker())


@pytest.mark.usefixtures("fast")
def test_lines_come_while_the_main_thread_is_in_one_long_call(capsys: pytest.CaptureFixture[str]) -> None:
    with stages.stage("compiling"):
        time.sleep(0.6)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and all(line.startswith("compiling: ") for line in lines)
    time.sleep(0.4)
    assert capsys.readouterr().err == ""  # nothing is printed after the end


@pytest.mark.usefixtures("fast")
def test_a_closed_stderr_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    with stages.stage("compiling"):
        time.sleep(0.3)


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(stages, "SHOWN_AFTER", 0.0)
    with stages.stage("training the judge", total=100) as one:
        one.update(50)
        stages.SPEAKER.check()
        with one.paused(), stages.stage("evaluating"):
            stages.SPEAKER.check()
        stages.say("a line above")
    shown = terminal.getvalue()
    assert "training the judge:  50%" in shown and "a line above\n" in shown and "evaluating: 00:0" in shown


def test_a_notebook_has_a_bar_that_its_own_thread_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """By tqdm.auto: here without a kernel, where it is a line of text."""

    class OutStream(io.StringIO):
        pub_thread = None

    stream = OutStream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(stages, "SHOWN_AFTER", 0.0)
    with stages.stage("training", total=100) as one, stages.stage("evaluating") as inner:
        assert type(one.bar).__name__.startswith("tqdm") and inner.bar is None  # of an unknown length: a line
        one.bar.mininterval = 0.0
        one.update(50)
        stages.say("a line above")
        one.bar.displayed, shown = False, stream.getvalue()  # as a widget that no cell shows yet
        stages.SPEAKER.check()
        assert stream.getvalue() == shown
    assert "training:  50%" in shown and "a line above\n" in shown
