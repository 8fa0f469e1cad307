"""What --help prints: ten flags first, all under --help-all, plain words, defaults, 80 columns."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from fastgan.config import commands, help_text
from fastgan.config.command_line import parse, positional
from fastgan.config.limits import at_least
from fastgan.config.schema import TrainConfig
from fastgan.config.train_command import FIRST, HEADINGS, TrainCommandConfig, train_config

KINDS = [kind for name, kind in vars(commands).items() if name.endswith("Config")]


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a call of train prints that asks for help."""
    with pytest.raises(SystemExit) as caught:
        train_config(argv, lambda _: TrainConfig())
    assert caught.value.code == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def flags(text: str) -> list[str]:
    """The flags that stand at the beginning of a line."""
    return re.findall(r"^  --([\w.-]+)", text, re.MULTILINE)


def all_flags(kind: Any, prefix: str = "") -> list[str]:
    """The flags of a dataclass and of those in it."""
    found = []
    for part in dataclasses.fields(kind):
        name = prefix + part.name.replace("_", "-")
        inner = part.default_factory
        found += all_flags(inner, f"{name}.") if isinstance(inner, type) else [name]
    return found


def test_help_shows_ten_flags_and_where_the_others_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--help")
    assert flags(text) == [name.replace("_", "-") for name in FIRST] and len(FIRST) == 10
    others = len(all_flags(TrainCommandConfig)) - 10
    assert text.endswith(f"python -m fastgan.train --help-all shows the other {others} flags, in groups.\n")
    assert shown(capsys, "-h") == text


def test_all_of_it_has_every_flag_once_under_a_heading(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--help-all")
    assert sorted(flags(text)) == sorted(all_flags(TrainCommandConfig))
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert headings == list(HEADINGS.values())
    first = text.index(f"{headings[0]}:\n")
    assert not flags(text[:first]) and set(HEADINGS) <= {part.name for part in dataclasses.fields(TrainCommandConfig)}


def test_defaults_are_those_of_the_data_set_and_of_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert re.search(r"--epochs N .*?\(default:\s+160\)", shown(capsys, "--help"), re.DOTALL)
    assert re.search(r"--epochs N .*?\(default: 20\)", shown(capsys, "--dataset", "mnist", "--help"), re.DOTALL)
    (tmp_path / "file.json").write_text('{"epochs": 7}')
    assert re.search(
        r"--epochs N .*?\(default: 7\)", shown(capsys, "--help", "--config", str(tmp_path / "file.json")), re.S
    )


@pytest.mark.parametrize("kind", [TrainCommandConfig, *KINDS], ids=lambda kind: kind.__name__)
def test_help_is_plain_and_fits(
    kind: type, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a terminal, and whatever its width."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parse(kind, ["--help-all"], command="train", description="Words " * 40)
    text = capsys.readouterr().out
    assert all(len(line) <= help_text.WIDTH and line == line.rstrip() for line in text.splitlines())
    assert len(flags(text)) >= 3
    assert not re.search(r"\x1b|None|True|False|\bINT\b|\{|\.py\b|╭|Literal|tuple", text)


def test_every_flag_has_a_text() -> None:
    for kind in (TrainCommandConfig, *KINDS):
        for flag in help_text._flags(kind, None, {}, positional()):
            assert len(flag.text) > 9, f"{kind.__name__}: {flag.name}"


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Of another."""

    at: tuple[int, ...] = ()
    """When."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A command."""

    run: Annotated[Path, positional()]
    """The folder."""
    more: Annotated[Path | None, positional()] = None
    """Another."""
    count: Annotated[int, at_least(1)] = 3
    """How many
    of them (there/here.py)."""
    rate: float | None = None
    """How fast."""
    fast: bool = True
    """Whether."""
    loud: bool = False
    """How."""
    size: Literal["auto", "own"] | tuple[float, float] = (0.5, 2.0)
    """How large."""
    name: Literal["a-very-long-name-of-one", "a-very-long-name-of-two", "a-very-long-name-of-three"] = (
        "a-very-long-name-of-two"
    )
    """Which."""
    inner: Inner = field(default_factory=Inner)


EXPECTED = """\
usage: fastgan do RUN [MORE] [flags]

Does it.

  RUN                   The folder.
  [MORE]                Another.

  --count N             How many of them. (default: 3)
  --rate X              How fast.

Loudness:
  --fast, --no-fast     Whether. (default: on)
  --loud                How.
  --size auto|own|LOW HIGH
                        How large. (default: 0.5 2)
  --name NAME           Which. One of a-very-long-name-of-one,
                        a-very-long-name-of-two, a-very-long-name-of-three.
                        (default: a-very-long-name-of-two)

Others:
  --inner.at [N ...]    When. (default: none)"""


def test_a_whole_help() -> None:
    layout = help_text.Layout(headings={"fast": "Loudness", "inner": "Others"})
    assert help_text.render(Example, None, "fastgan do", "Does it.", layout, True, positional()) == EXPECTED
