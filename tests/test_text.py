"""Words in messages, and names of files that are no text."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgan.text import encodable, pluralize, printable, shell_quoted, unescaped

# What a file can be called: bytes that Python reads with surrogates, and the texts that an escape might be taken for.
BYTES = st.lists(
    st.sampled_from([b"a", b"/", b"u", b"\\", b"\\u", b"dce9", b"005c", b"\xe9", b"\xff", b"\r", b"\n", b'"', b","])
    | st.binary(min_size=1, max_size=3).filter(lambda each: b"\0" not in each)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3).map(str.encode),
    max_size=12,
)
NAMES = BYTES.map(b"".join).map(os.fsdecode)


@pytest.mark.parametrize(("number", "expected"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1200, "1,200 files")])
def test_pluralize(number: int, expected: str) -> None:
    assert pluralize(number, "file") == expected


def test_irregular_plural() -> None:
    assert [pluralize(number, "person", "people") for number in (1, 3)] == ["1 person", "3 people"]


@given(NAMES)
def test_an_escaped_name_is_utf8_and_can_be_read_back(name: str) -> None:
    for escaped in (encodable(name), printable(name)):
        escaped.encode("utf-8")
        assert unescaped(escaped) == name
        assert os.fsencode(unescaped(escaped)) == os.fsencode(name)


@given(NAMES)
def test_a_printable_name_stays_on_its_line(name: str) -> None:
    assert len(printable(name).splitlines()) <= 1 and "\x1b" not in printable(name)


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("plain cat-1.png", "plain cat-1.png", "plain cat-1.png"),
        ("猫 😀 قطة é C:\\users\\me", "猫 😀 قطة é C:\\users\\me", "猫 😀 قطة é C:\\users\\me"),
        (os.fsdecode(b"caf\xe9"), r"caf\udce9", r"caf\udce9"),
        ("two\r\nlines", "two\r\nlines", r"two\u000d\u000alines"),
        (r"like an escape \u00e9", r"like an escape \u005cu00e9", r"like an escape \u005cu00e9"),
        ("turned \u202egnp.exe", "turned \u202egnp.exe", r"turned \u202egnp.exe"),
    ],
)
def test_only_what_must_be_is_escaped(name: str, data: str, line: str) -> None:
    assert encodable(name) == data and printable(name) == line


@pytest.mark.parametrize("name", [b"runs/a b", b"caf\xe9/it's", b"two\nlines\\", "猫".encode()])
def test_a_shell_reads_the_path_that_it_is_told(name: bytes) -> None:
    path = Path(os.fsdecode(name))
    printed = subprocess.run(["bash", "-c", f"printf %s {shell_quoted(path)}"], capture_output=True, check=True).stdout
    assert printed == name
    if name.isascii() and name.decode().isprintable():
        assert shell_quoted(path) == shlex.quote(str(path))
