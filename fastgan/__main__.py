"""fastgan NAME: the commands under one name, also as python -m fastgan NAME; `python -m fastgan.train` and so on stay.

This module imports a command only when it is called, so that the list and the version are shown at once.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fastgan
from fastgan.config.command_line import NAMES, called_as, run_command
from fastgan.errors import ConfigError
from fastgan.runtime import command


@dataclass(frozen=True)
class Command:
    """The module of fastgan/ that a name calls, an example of what follows the name, and what it does."""

    module: str
    example: str
    text: str


COMMANDS = {
    "check": Command("check", "photos", "what a folder holds, and how to train on it"),
    "train": Command("train", "photos --classes 12", "learn which classes there are, and how frequent"),
    "label": Command("cluster", "RUN photos", "the class of each image, as a table"),
    "sample": Command("sample", "RUN --code 7", "draw images of a class"),
    "report": Command("page", "RUN", "its report.html again; of several, a comparison"),
    "evaluate": Command("evaluate", "RUN", "how good a run is, in figures"),
    "export": Command("export", "RUN", "its networks, for torch alone"),
    "reproduce": Command("reproduce", "--splits 1-3", "the paper's variants, and their table"),
}


def listing(program: str) -> str:
    """The commands, a line each."""
    lines = [f"  {name} {each.example}" for name, each in COMMANDS.items()]
    width = max(map(len, lines)) + 2
    return "\n".join(
        [
            f"usage: {program} NAME ...",
            "",
            "What kinds are there in a pile of unlabelled images, and how frequent is each?",
            "",
            *(f"{line:{width}}{each.text}" for line, each in zip(lines, COMMANDS.values(), strict=True)),
            "",
            f"For example: {program} train photos --classes 12",
            "RUN is a run's folder, made by train: in runs/, or that of --run-dir.",
            f"{program} NAME --help describes a command.",
            f"{program} --version prints the version.",
        ]
    )


def main(argv: Sequence[str] | None = None, program: str = "fastgan") -> int:
    """Call a command. Returns its exit code.

    Args:
        argv: the name and what follows it; by default those of the process. program: how this was called.
    """
    if argv is None:
        command.begin()
    return run_command(lambda words: _call(program, words), argv)


def _call(program: str, argv: Sequence[str]) -> int:
    name, *rest = argv or ["--help"]
    if name in ("-h", "--help", "help"):
        print(listing(program))
        return 0
    if name == "--version":
        print(f"fastgan {fastgan.__version__}")
        return 0
    name = NAMES.get(name, name)
    if name not in COMMANDS:
        raise ConfigError(f"{name}: no such command{_meant(program, name)}; see {program} --help")
    with called_as(f"{program} {name}"):
        return int(importlib.import_module(f"fastgan.{COMMANDS[name].module}").main(rest))


def _meant(program: str, name: str) -> str:
    """What may be meant by a name that is no command's."""
    if name.startswith("-"):
        return f"; a name comes first, such as {program} train {name} ..."
    if Path(name).exists():
        return f"; use {program} train {name} to train on these images" if Path(name).is_dir() else ""
    near = difflib.get_close_matches(name, [*COMMANDS, *NAMES], cutoff=0.5)
    return f"; perhaps you meant {' or '.join(near)}" if near else ""


if __name__ == "__main__":
    sys.exit(main(program="python -m fastgan"))
