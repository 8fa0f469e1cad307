"""The csv table: whatever an image is called, its row reads back equal."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_text import NAMES

from fastgan.errors import ConfigError
from fastgan.inference.assignments import write_table
from fastgan.text import encodable, unescaped

AWKWARD = [
    "a\rb",
    "a\nb",
    "a\r\n",
    'q"u,o"te',
    "=1+1",
    "@x",
    " padded ",
    "",
    "\\",
    "1.5",
    "猫",
    "\udce9",
    "'",
    "\ufeff",
]


def written(names: list[str] | list[int], heading: str = "path") -> bytes:
    codes, shares = torch.tensor([[3, 1]] * len(names)), torch.tensor([[0.75, 0.0000004]] * len(names))
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "table.csv", names, heading, codes, shares)
        assert [path.name for path in Path(folder).iterdir()] == ["table.csv"]
        return (Path(folder) / "table.csv").read_bytes()


def strict_rows(text: str) -> list[list[str]]:
    """As RFC 4180, and the readers of pandas, polars and R have it: outside of quotes any line end ends a row."""
    rows, row, cell, quoted, at = [], list[str](), "", False, 0
    while at < len(text):
        letter, at = text[at], at + 1
        if quoted:
            if letter != '"':
                cell += letter
            elif text[at : at + 1] == '"':
                cell, at = cell + '"', at + 1
            else:
                quoted = False
        elif letter == '"':
            quoted = True
        elif letter == ",":
            row, cell = [*row, cell], ""
        elif letter in "\r\n":
            rows.append([*row, cell])
            row, cell = [], ""
        else:
            cell += letter
    return rows


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_names_read_back_equal(names: list[str]) -> None:
    text = written(names).decode("utf-8")
    for rows in (strict_rows(text), list(csv.reader(io.StringIO(text, newline="")))):
        assert rows[0] == ["path", "class", "confidence", "second_class", "second_confidence"]
        assert [unescaped(row[0]) for row in rows[1:]] == names


@pytest.mark.parametrize("name", AWKWARD, ids=ascii)
def test_pythons_reader_gets_the_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(written([name, "next"]))
    with file.open(encoding="utf-8", newline="") as opened:
        header, row, last = csv.reader(opened)
    assert row == [encodable(name), "3", "0.750000", "1", "0.000000"] and last[0] == "next"
    assert unescaped(row[0]) == name and header[0] == "path"


def test_texts_are_in_quotes_and_numbers_are_not() -> None:
    assert written(["a"]).splitlines() == [
        b'"path","class","confidence","second_class","second_confidence"',
        b'"a",3,0.750000,1,0.000000',
    ]
    assert written([7], "index").splitlines()[1] == b"7,3,0.750000,1,0.000000"


def test_a_table_may_have_the_longest_name(tmp_path: Path) -> None:
    out = tmp_path / f"{'x' * 251}.csv"
    write_table(out, ["a"], "path", torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    with pytest.raises(ConfigError, match=r"^--out .*cannot be written"):
        write_table(tmp_path / ("x" * 300), ["a"], "path", torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]))
