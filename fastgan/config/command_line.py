"""From argv to a dataclass of settings, and from an error to one line and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from fastgan.config import help_text
from fastgan.errors import ConfigError, DataError, FastganError
from fastgan.runtime import libraries, signals
from fastgan.text import printable

T = TypeVar("T")
PLAIN = help_text.Layout()
NAMES = {"cluster": "label", "page": "report"}  # of modules, where the one command has another for them
_program: ContextVar[str | None] = ContextVar("program", default=None)

# tyro's messages that speak of Python, in a user's words.
REWORDED = {
    r"Error parsing (\S+): invalid literal for int\(\) with base 10: '(.*)'": r"\1 \2: must be a whole number",
    r"Error parsing (\S+): could not convert string to float: '(.*)'": r"\1 \2: must be a number",
    r"Error parsing (\S+): Could not (?:find valid parse for arguments:|parse arguments) \['(.*)'\](?: into .*)?": (
        r"\1 '\2': must be numbers"
    ),
    r"Error parsing (\S+): no type matching \S+\|INT could be instantiated from \['(.*?)'\].*": (
        r"\1 \2: must be a whole number"
    ),
    r"Error parsing (\S+): no type matching \S+\|FLOAT could be instantiated from \['(.*?)'\].*": (
        r"\1 \2: must be a number"
    ),
    r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \('(.*)'\)": r"\2 \1: must be one of '\3'",
    r"Missing value for argument '(\S+)'\. Expected 1 values": r"\1: a value must follow it",
    r"Missing value for argument '(\S+)'\. Expected (\d+) values": r"\1: \2 values must follow it",
    r"Missing from (.*): PATH The run's folder\. \(required\)": r"name the run's folder: \1 RUN",
    r"Unrecognized options: ": "not known: ",
}


@contextmanager
def called_as(program: str) -> Iterator[None]:
    """Within, the command is called by `fastgan`: `program` is its name in messages."""
    before = _program.set(program)
    try:
        yield
    finally:
        _program.reset(before)


def by_name() -> bool:
    """Whether the command was called by `fastgan`, not as a module."""
    return _program.get() is not None


def program(command: str) -> str:
    """How the command was called, for messages."""
    return _program.get() or f"python -m fastgan.{command}"


def other_program(command: str) -> str:
    """How another command is called in the same way, for messages that advise it."""
    called = _program.get()
    if called is None:
        return f"python -m fastgan.{command}"
    return f"{called.rsplit(' ', 1)[0]} {NAMES.get(command, command)}"


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether a command line asks for help, which then is all that it does."""
    return not {"-h", "--help", help_text.ALL}.isdisjoint(argv)


def parse(
    kind: type[T],
    argv: Sequence[str],
    *,
    default: T | None = None,
    command: str,
    description: str,
    layout: help_text.Layout = PLAIN,
    operand: str | None = None,
) -> T:
    """Parse `argv` into dataclass `kind` with tyro, or print the help and raise SystemExit.

    Args:
        default: whose values are the defaults. command: the name of its module in fastgan/. operand: a word in it that
            belongs to no flag, from `find_operand`.

    Raises:
        ConfigError: with a one-line message.
    """
    if asks_for_help(argv):
        everything = help_text.ALL in argv
        print(help_text.render(kind, default, program(command), description, layout, everything, positional()))
        raise SystemExit(0)
    how = {} if operand is None else {"return_unknown_args": True}
    return _parse(kind, argv, default, command, **how)[0]


def find_operand(kind: type[T], argv: Sequence[str], command: str) -> str | None:
    """The word that belongs to no flag, if there is one and all else is known; raises ConfigError as `parse`."""
    _, unknown = _parse(kind, argv, None, command, return_unknown_args=True)
    return unknown[0] if len(unknown) == 1 and not unknown[0].startswith("-") else None


def _parse(kind: type[T], argv: Sequence[str], default: T | None, command: str, **how: Any) -> tuple[T, list[str]]:
    """Parse; returns the words that tyro does not know, too, where `how` says so."""
    import tyro  # takes a tenth of a second

    message, prog = io.StringIO(), program(command)
    try:
        with contextlib.redirect_stderr(message):
            found: Any = tyro.cli(kind, args=list(argv), default=default, prog=prog, add_help=False, **how)
            return found if how else (found, [])
    except SystemExit:
        raise ConfigError(_one_line(message.getvalue(), prog)) from None


def positional() -> Any:
    """Annotation that makes a field of a command's dataclass positional; None if tyro is not installed."""
    try:
        import tyro
    except ImportError:
        return None
    return tyro.conf.Positional


def _one_line(box: str, prog: str) -> str:
    """The first part of tyro's framed, many-line message (ASCII on some terminals), and the flags that it suggests."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    body = plain.strip("\n").partition("\n")[2]  # without the frame's title
    sections = [part for part in re.split(r"^[│| ]*[─-]{4,}[│| ]*$", body, flags=re.MULTILINE) if part.strip()]
    lines = [line.strip("│|╭╮╰╯─ \t") for line in (sections or [plain])[0].splitlines()]
    message = " ".join(" ".join(filter(None, lines)).split())
    for theirs, ours in REWORDED.items():
        message = re.sub(theirs, ours, message)
    hinted = "".join(sections[1:]) if "meant" in plain else ""
    hints = re.findall(r"^[│| ]\s+(--[\w.-]+)", hinted, flags=re.MULTILINE)
    meant = f"; perhaps you meant {' or '.join(dict.fromkeys(hints))}" if hints else ""
    return f"{message.rstrip('.')}{meant}; see {prog} --help"


def flag_value(argv: Sequence[str], flag: str) -> str | None:
    """The last value of `--flag value` or `--flag=value`, before the whole command line is parsed."""
    found = None
    for i, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == flag:
            found = value if equals else (argv[i + 1] if i + 1 < len(argv) else found)
    return found


def run_command(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Call a command; an error meant for the user becomes one line on stderr and exit code 2, or 1 for a failed run.

    SIGTERM and Ctrl-C end it with one line, and 143 or 130; a run in training first finishes its step and saves.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot print of a name is escaped
            stream.reconfigure(errors="backslashreplace")
    with signals.ending_at_once():
        try:
            try:
                return main(sys.argv[1:] if argv is None else argv)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # `--help | head`: the reader is gone; /dev/null keeps Python's exit quiet too
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # 128 + SIGPIPE, as a shell reports it
        except signals.Stopped as stop:
            with signals.ignored():
                return _stopped(stop)
        except ModuleNotFoundError as error:
            line = libraries.missing(error)
            if line is None:
                raise
            libraries.end_without(line)
        except FastganError as error:
            if signals.received() and isinstance(error, DataError):  # it ended the processes that decode, too
                with signals.ignored():
                    return _stopped(signals.Stopped(signals.received()[0]))
            if not error.silent:
                print(f"error: {printable(str(error))}", file=sys.stderr, flush=True)
            if error.at_once:
                os._exit(error.exit_code)
            return error.exit_code


def _stopped(stop: signals.Stopped) -> int:
    """Say it, on one rank of a run, and how to go on. Returns the exit code."""
    code = 128 + stop.number
    if os.environ.get("RANK", "0") == "0":
        print(f"stopped; {stop.remedy or 'the same command starts again'}", file=sys.stderr, flush=True)
    if "RANK" in os.environ:  # as after an error of a rank: Python's own cleanup sometimes aborts
        os._exit(code)
    return code
