"""What help(ElasticInfoGAN) says of the parameters that are settings of a run: the command line's texts, in groups."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TypeVar

from fastgan.api.messages import in_python_names, parameter
from fastgan.config.help_text import Flag, described
from fastgan.config.presets import preset
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import HEADINGS

T = TypeVar("T", bound=type)
WIDTH = 100  # columns
# The docstring itself has these.
SAID = {"classes", "dataset", "recipe", "run_dir", "seed", "image_size", "channels", "epochs", "threads"}
# What a reader of Python is told in other words.
WORDS = (
    (r"With --dataset folder[^:]*:", "Of a folder:"),
    (r"those that the command line sets", "those that are given"),
    (r"\(default: on\)", "(default: True)"),
)
HERE = "    SETTINGS\n"  # in a docstring, the line that they stand for


def documented(kind: T) -> T:
    """A class whose docstring has them in the place of HERE: those that its constructor takes."""
    if kind.__doc__ is not None:  # python -OO keeps none
        kind.__doc__ = kind.__doc__.replace(HERE, described_parameters(kind))
    return kind


def described_parameters(kind: type) -> str:
    """Name, values, meaning and the default of preset npz of each, under the headings of the command line."""
    taken = set(inspect.signature(kind).parameters)
    parts, heading = [], ""
    for group, flag in described(TrainConfig, preset("npz"), HEADINGS):
        if parameter(flag.name).partition("[")[0] not in taken or flag.name in SAID:
            continue
        if group != heading:
            parts.append(f"\n    {group}:\n")
            heading = group
        parts.append(_entry(flag))
    return "".join(parts)


def _entry(flag: Flag) -> str:
    on_or_off = " --no-" in flag.left or " " not in flag.left
    values = "True|False" if on_or_off else flag.left.partition(" ")[2]
    text = flag.text
    for theirs, ours in WORDS:
        text = re.sub(theirs, ours, text)
    text = in_python_names(text)
    lines = textwrap.wrap(text, WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 12, break_on_hyphens=False)
    return "\n".join([f"        {parameter(flag.name)}: {values}", *lines, ""])
