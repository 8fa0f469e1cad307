"""What --help prints: flags with what follows them, what they do and their defaults, in 80 columns of plain text.

tyro parses, and its own help is made for those who know Python: types such as {None}|INT, boxes, no groups of one
dataclass's flags. Here they are read off the same dataclasses and the texts below their fields.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

WIDTH, INDENT = 80, 24  # columns; where texts begin
ALL = "--help-all"
# References to our source, which say nothing to a user.
_SOURCE = re.compile(r"\s*\([a-z_]+/[a-z_]+\.py\)")


@dataclass(frozen=True)
class Layout:
    """How the flags of a command are shown.

    first: fields that --help shows, in this order, where --help-all shows the others too; empty to show all.
    headings: name of a field -> heading, of it and of those that follow it, or of a nested dataclass.
    operand: what may stand there without a flag, and what it means, where no field does.
    """

    first: tuple[str, ...] = ()
    operand: tuple[str, str] | None = None
    headings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Flag:
    """A flag as it is shown; `heading` of the group that begins with it."""

    name: str
    left: str
    text: str
    positional: bool
    heading: str | None


def render(
    kind: type,
    default: Any,
    program: str,
    description: str,
    layout: Layout,
    everything: bool,
    positional: object = None,
) -> str:
    """The help of one command.

    Args:
        default: an instance of `kind` whose values are the defaults; None for the fields' own.
        program: how the command was called.
        everything: whether all flags are shown, in groups.
        positional: the annotation of a field that is given without a flag.
    """
    flags = list(_flags(kind, default, layout.headings, positional))
    words = [flag for flag in flags if flag.positional]
    if layout.operand is not None:
        words.append(Flag("", *layout.operand, positional=True, heading=None))
    usage = " ".join(["usage:", program, *(flag.left for flag in words), "[flags]"])
    parts = [usage, _paragraph(description)]
    if words:
        parts.append("\n".join(map(_entry, words)))
    if layout.first and not everything:
        by_name = {flag.name: flag for flag in flags}
        parts.append("\n".join(_entry(by_name[name]) for name in layout.first))
        parts.append(_paragraph(f"{program} {ALL} shows the other {len(flags) - len(layout.first)} flags, in groups."))
    else:
        parts += _groups(flag for flag in flags if not flag.positional)
    return "\n\n".join(parts)


def described(kind: type, default: Any, headings: Mapping[str, str]) -> Iterator[tuple[str, Flag]]:
    """Each setting of a dataclass, and of those within it, with the heading of its group."""
    heading = ""
    for flag in _flags(kind, default, headings, None):
        heading = flag.heading or heading
        yield heading, flag


def _groups(flags: Iterator[Flag]) -> list[str]:
    parts: list[list[str]] = [[]]
    for flag in flags:
        if flag.heading is not None:
            parts.append([f"{flag.heading}:"])
        parts[-1].append(_entry(flag))
    return ["\n".join(lines) for lines in parts if lines]


def _entry(flag: Flag) -> str:
    left, lines = f"  {flag.left}", textwrap.wrap(flag.text, WIDTH - INDENT, break_on_hyphens=False)
    if len(left) < INDENT - 1 and lines:
        left, lines = f"{left:{INDENT}}{lines[0]}", lines[1:]
    return "\n".join([left, *(" " * INDENT + line for line in lines)])


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def _flags(
    kind: type, default: Any, headings: Mapping[str, str], positional: object, prefix: str = ""
) -> Iterator[Flag]:
    """The flags of a dataclass and of those within it."""
    hints, texts = get_type_hints(kind, include_extras=True), _texts(kind)
    heading = headings.get(prefix.rstrip("."))
    for part in dataclasses.fields(kind):
        hint, value = hints[part.name], _default(part, default)
        heading = headings.get(prefix + part.name, heading)
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from _flags(hint, value, headings, positional, f"{prefix}{part.name}.")
            heading = None
            continue
        without_flag = positional is not None and positional in getattr(hint, "__metadata__", ())
        yield _flag(prefix + part.name, hint, value, texts.get(part.name, ""), without_flag, heading)
        heading = None


def _flag(name: str, hint: Any, value: Any, text: str, positional: bool, heading: str | None) -> Flag:
    values = _values(hint)
    if positional:
        left = name.upper() if value is MISSING else f"[{name.upper()}]"
        return Flag(name, left, text, positional, heading)
    flag = f"--{name.replace('_', '-')}"
    if _plain(hint) is bool:
        left = flag if value is False else f"{flag}, --no-{flag.removeprefix('--')}"
    elif len(flag) + len(values) < WIDTH - 4:
        left = f"{flag} {values}"
    else:
        left, text = f"{flag} NAME", f"{text} One of {values.replace('|', ', ')}."
    return Flag(name, left, text + _shown(value), positional, heading)


def _default(part: dataclasses.Field[Any], default: Any) -> Any:
    if default is not None:
        return getattr(default, part.name)
    return part.default_factory() if part.default_factory is not MISSING else part.default


def _shown(value: Any) -> str:
    """The default, in words; nothing where the text says what is done when the flag is left out."""
    if value is None or value is False or value is MISSING:
        return ""
    if value is True:
        return " (default: on)"
    items = value if isinstance(value, tuple) else (value,)
    words = " ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in items)
    return f" (default: {words or 'none'})"


def _plain(hint: Any) -> Any:
    """A type without its annotations and without None."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = [each for each in get_args(hint) if each is not type(None)]
        return kinds[0] if len(kinds) == 1 else hint
    return hint


def _values(hint: Any) -> str:
    """What follows a flag: N for a whole number, X for any number, a|b for one of two words."""
    hint = _plain(hint)
    args = get_args(hint)
    if get_origin(hint) is Literal:
        return "|".join(map(str, args))
    if get_origin(hint) in (Union, UnionType):
        return "|".join(map(_values, args))
    if get_origin(hint) is tuple:
        return f"[{_values(args[0])} ...]" if args[-1] is Ellipsis else "LOW HIGH"
    return {int: "N", float: "X", Path: "PATH"}.get(hint, "TEXT")


def _texts(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass, those that it inherits included; each on one line."""
    found: dict[str, str] = {}
    for base in reversed([each for each in kind.__mro__ if dataclasses.is_dataclass(each)]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for node, below in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
                assert isinstance(below.value, ast.Constant)
                found[node.target.id] = _SOURCE.sub("", " ".join(str(below.value.value).split()))
    return found
