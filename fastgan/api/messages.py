"""What the commands say, in the words of Python: parameters for flags, and remedies that a caller can follow.

Rooms below know only the command line's names. Whatever leaves the estimator, an error or a line, passes through here.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fastgan.api.settings import RENAMED
from fastgan.config.schema import TrainConfig
from fastgan.errors import FastganError

GO_ON = "fit(images, resume=True)"
# Advice that is more than names, in this order.
PHRASES = [
    (r"add --force to replace it", "give force=True to replace it"),
    (r"--force replaces", "force=True replaces"),
    (r"already holds a run; add --resume to continue it", f"already holds a run; go on with {GO_ON}"),
    (r"name the --run-dir of a run", "give the folder of a run"),
    (r"train again in another --run-dir", "fit again in another run_dir"),
    (r"starts again with --resume", f"starts again with {GO_ON}"),
    (r"free up space and --resume", f"free up space and go on with {GO_ON}"),
    (r"is from before: --resume, or lower", f"is from before: go on with {GO_ON}, or lower"),
    (r"^--resume: ", "resume: "),
    (r"; then --resume", f"; then go on with {GO_ON}"),
    (
        r"; --threads (\d+) may be faster, with --resume too",
        r"; threads=\1 may be faster, also when the run is resumed",
    ),
    (r"Continue it with --resume and more --epochs", f"Set more epochs and go on with {GO_ON}"),
    (r"(?:[Cc]ontinue it with|continue with:) \S*python\S* -m fastgan\.train --resume.*", f"Go on with {GO_ON}."),
    (r"\S*python\S* -m fastgan\.page .*? tries again", "report() tries again"),
    (r"python -m fastgan\.check (.*?) says more", r"the command `fastgan check \1` says more"),
    (r"; python -m fastgan\.check .*? says more", ""),
    (r"see \S*python\S* -m fastgan\.\w+ --help", "see help(fastgan.ElasticInfoGAN)"),
    (r"file with your images by --data-dir", "file with your images"),
    (r"name the folder in which (.*?) are with --data-dir", r"give fit the folder in which \1 are"),
    (r"name (its|their|\S+'s) folder with --data-dir", r"give fit \1 folder"),
    (r"among the images in --data-dir", "among the images in"),
    (
        r"is for --dataset [^;]*folder[^;]*; leave it out with \S+",
        "is for a folder of images; leave it out with arrays",
    ),
    (r"leave the flag out", "leave it out"),
    (r"([Ll]eave) --compile out", r"\1 compile out"),
    (r"fewer --classes", "fewer classes"),
    (r"leave (them|it) out with --skip-bad", r"leave \1 out with skip_bad=True"),
    (r"another --seed", "another random_state"),
    (r"--intensity-range LOW HIGH", "intensity_range=(LOW, HIGH)"),
    (r"resumed from .*/checkpoints/\d+ after", "resumed after"),
]
MARKS = ("--", "python -m", "resumed from")  # a line with none of these is as Python would have it
# Flags for which the estimator has another word, or that a method takes.
WORDS = {"dataset": "preset", "data_dir": "images", "out": "path", "seed": "random_state"}
FLAG = re.compile(r"(?<![\w/-])--(no-)?([a-z][a-z0-9]*(?:-[a-z0-9]+)*(?:\.[a-z]+(?:-[a-z]+)*)?)")
NUMBERS = re.compile(r" (-?\d[\d.e+-]*(?<=\d)(?: -?\d[\d.e+-]*(?<=\d))*)(?=[^\w.]|\.(?!\d)|$)")
WORD = re.compile(r" ([a-z#][\w#-]*)")


def in_python_names(text: str) -> str:
    """A message of the commands with flags as parameters: `--classes 1: ...` is `n_classes 1: ...`.

    A flag with a value that begins a message keeps it after a space, as in the example; a remedy is written as an
    argument, such as `device="cpu"`.
    """
    for pattern, words in PHRASES:
        text = re.sub(pattern, words, text)
    parts, start = [], 0
    while found := FLAG.search(text, start):
        parts.append(text[start : found.start()])
        written, start = _argument(text, found)
        parts.append(written)
    return "".join(parts) + text[start:]


def _argument(text: str, found: re.Match[str]) -> tuple[str, int]:
    """A flag and the value after it as Python would write them, and where the rest of the text begins."""
    off, flag = found.groups()
    setting, end = flag.replace("-", "_"), found.end()
    name, kind = parameter(setting), _kind(setting)
    if kind is bool and text[end : end + 1] != ":":
        return f"{name}={not off}", end
    value, shown = None, ""
    if number := NUMBERS.match(text, end):
        value, shown = number, number[1] if " " not in number[1] else f"({', '.join(number[1].split())})"
    elif (word := WORD.match(text, end)) and word[1] in _literals(kind):
        value, shown = word, f'"{word[1]}"'
    if value is None:
        return name, end
    end = value.end()
    if text[end : end + 1] == ":":
        return f"{name} {value[1]}", end
    other = re.match(r" or ([a-z]+)", text[end:])
    if other and other[1] in _literals(kind):
        return f'{name}={shown} or "{other[1]}"', end + other.end()
    return f"{name}={shown}", end


def parameter(setting: str) -> str:
    """How the estimator names a setting: `transform.flip` is `transforms["flip"]`."""
    outer, _, inner = setting.partition(".")
    name = {theirs: ours for ours, theirs in RENAMED.items()}.get(outer, WORDS.get(outer, outer))
    return f'{name}["{inner}"]' if inner else name


def _kind(setting: str) -> Any:
    """The annotated type of a setting; None for a flag that is none."""
    outer, _, inner = setting.partition(".")
    kind = get_type_hints(TrainConfig).get(outer)
    return get_type_hints(kind).get(inner) if inner and kind is not None else kind


def _literals(kind: Any) -> set[Any]:
    """The words that a setting may be."""
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return set().union(*map(_literals, get_args(kind)))
    return {"black", "white", "grey"} if kind is str else set()


@contextlib.contextmanager
def python_errors() -> Iterator[None]:
    """Within, an error of the rooms below keeps its class and gets the words of Python."""
    try:
        yield
    except FastganError as error:
        error.args = tuple(in_python_names(part) if isinstance(part, str) else part for part in error.args)
        raise


class Translated:
    """A stream that writes the commands' lines in the words of Python; otherwise the stream that it is made of."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As the stream's, and returns the number of characters given."""
        self._stream.write(in_python_names(text) if any(mark in text for mark in MARKS) else text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def python_lines() -> Iterator[None]:
    """Within, what is printed is in the words of Python."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:  # a program without a terminal has neither
            stack.enter_context(contextlib.redirect_stdout(Translated(sys.stdout)))
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stderr(Translated(sys.stderr)))
        yield
