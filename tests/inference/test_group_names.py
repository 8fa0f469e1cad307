"""Names of groups: what is read, what is refused in one line, and the folders made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastgan.errors import ConfigError
from fastgan.inference.group_names import FOLDER_BYTES, folder_names, read_names


def written(here: Path, values: Any) -> Path:
    path = here / "names.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def test_names_are_read_trimmed_and_composed(tmp_path: Path) -> None:
    path = written(tmp_path, {"classes": 5, "names": {"0": " eight ", "3": "eight", "4": "Zu\u0308rich"}})
    assert read_names(path, 5) == {0: "eight", 3: "eight", 4: "Zürich"}
    assert read_names(written(tmp_path, {"names": {}}), 5) == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ([], 'has no "names"'),
        ({"0": "a"}, 'has no "names"'),
        ({"names": ["a"]}, 'has no "names"'),
        ({"classes": 7, "names": {}}, "of a run with 7 classes, this one has 5"),
        ({"names": {"5": "a"}}, "the classes are 0 to 4"),
        ({"names": {"-1": "a"}}, "the classes are 0 to 4"),
        ({"names": {"one\n": "a"}}, "the classes are 0 to 4"),
        ({"names": {"٣": "a"}}, "the classes are 0 to 4"),
        ({"names": {"0": "  "}}, "no text of 1 to 100 letters"),
        ({"names": {"0": "a" * 101}}, "no text of 1 to 100 letters"),
        ({"names": {"0": 3}}, "no text of 1 to 100 letters"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_with_a_remedy(values: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_names(written(tmp_path, values), 5)
    assert said in str(caught.value) and "\n" not in str(caught.value) and "--names" in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for path, said in (
        (tmp_path / "nowhere", "cannot be read"),
        (tmp_path, "cannot be read"),
        (tmp_path / "bytes", "JSON"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_names(path, 5)


def test_folders_have_names_that_every_system_takes() -> None:
    names = {0: "../../etc", 1: "a/b\\c", 2: "CON", 3: ".hidden", 4: "dot. ", 5: "\x00\n", 6: "é" * 100, 7: "\ud800"}
    found = folder_names(names, 9)
    assert found == {
        0: "_.._.._etc",
        1: "a_b_c",
        2: "_CON",
        3: "_.hidden",
        4: "dot",
        5: "__",
        6: "é" * 100,
        7: "_",
        8: "class-08",
    }
    long = folder_names({0: "語" * 100}, 1)[0]
    assert len(long.encode()) <= FOLDER_BYTES and set(long) == {"語"}


def test_the_same_name_is_one_folder_and_others_never_are() -> None:
    names = {0: "cell", 1: "cell", 2: "Cell", 3: "files.csv", 4: "class-05", 5: "a:b", 6: "a?b"}
    found = folder_names(names, 8)
    assert found[0] == found[1] == "cell" and found[2] == "Cell-2"
    assert found[3] == "files.csv-2" and found[4] == "_class-05" and found[7] == "class-07"
    assert {found[5], found[6]} == {"a_b", "a_b-2"}
