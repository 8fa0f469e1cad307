"""Files sorted by class: names that are all chosen beforehand, files that are gone, and failures that leave nothing."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgan.errors import ConfigError
from fastgan.inference import sorting
from fastgan.inference.sorting import LIST, check_place, placed, sort_into
from fastgan.runtime.outputs import MARKER
from fastgan.text import unescaped

LONGEST = "x" * 251 + ".png"


def files(tmp_path: Path, *names: str) -> list[Path]:
    """A file each, which holds its own number."""
    paths = [tmp_path / "images" / name for name in names]
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(i))
    return paths


OWN = {LIST, MARKER}  # beside the folders of the classes


def found(folder: Path) -> dict[str, str]:
    """Every file that was sorted, by its place, with what it holds."""
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file() and p.name not in OWN}


def listed(folder: Path) -> list[list[str]]:
    with (folder / LIST).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


# --- names ---


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.png", "y/b.png"], ["a.png", "b.png"]),
        (["x/a.png", "x/a-2.png", "y/a.png"], ["a.png", "a-2.png", "a-3.png"]),
        (["x/a.png", "y/a.png", "z/a-2.png"], ["a.png", "a-2.png", "a-2-2.png"]),
        (["x/a.png", "y/A.PNG"], ["a.png", "A-2.PNG"]),
        (["x/\u00e9.png", "y/e\u0301.png"], ["\u00e9.png", "e\u0301-2.png"]),
        (["x/a", "y/a"], ["a", "a-2"]),
    ],
)
def test_a_name_that_is_taken_gets_a_number(paths: list[str], names: list[str]) -> None:
    places = placed([PurePosixPath(path) for path in paths], [7] * len(paths))
    assert places == [f"class-07/{name}" for name in names]


def test_names_that_grow_too_long_end_in_a_hash_of_their_path() -> None:
    paths = [PurePosixPath(folder) / LONGEST for folder in "abc"]
    first, second, third = (place.removeprefix("class-00/") for place in placed(paths, [0, 0, 0]))
    assert first == LONGEST and second != third
    for name in (second, third):
        assert len(name) == 255 and name.startswith("x" * 242 + "-") and name.endswith(".png")
    assert placed(paths[1:], [1, 1])[1] == f"class-01/{third}", "the rest of the files has no part in it"


NAMES = st.sampled_from(["a", "A", "é", "猫", "x" * 40, "猫" * 13, "a-2", "a.b", ".", "e\u0301", "\udce9"])


@given(st.lists(st.tuples(st.sampled_from("pqr"), NAMES, st.integers(0, 1)), unique=True, max_size=40))
def test_places_differ_and_fit(files: list[tuple[str, str, int]]) -> None:
    paths, codes = [PurePosixPath(f"{folder}/{name}.png") for folder, name, _ in files], [code for *_, code in files]
    places = placed(paths, codes, most_bytes=43)
    assert len({sorting._folded(place) for place in places}) == len(places)
    for path, code, place in zip(paths, codes, places, strict=True):
        folder, _, name = place.partition("/")
        assert folder == f"class-{code:02d}" and len(os.fsencode(name)) <= 43 and name.endswith(path.suffix)
        os.fsencode(name).decode("utf-8", errors="surrogateescape")


# --- what is made ---


def test_two_names_of_255_bytes_are_sorted_and_listed(tmp_path: Path) -> None:
    paths = files(tmp_path, f"a/{LONGEST}", f"b/{LONGEST}", "c/short.png")
    assert sort_into(tmp_path / "out", paths, [0, 0, 1]).how == {"hard link": 3}
    assert sorted(found(tmp_path / "out").values()) == ["0", "1", "2"]
    header, *rows = listed(tmp_path / "out")
    assert header == ["path", "class", "file"]
    for path, (name, code, place) in zip(paths, rows, strict=True):
        assert name == str(path) and place.startswith(f"class-{int(code):02d}/")
        assert (tmp_path / "out" / place).read_text() == path.read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"class-00", "class-01", *OWN}


def test_names_that_are_no_text_are_sorted_and_listed(tmp_path: Path) -> None:
    try:
        paths = files(tmp_path, "a\r\n\udce9.png", "b/a\r\n\udce9.png")
    except OSError:
        pytest.skip("this file system has only names of text")
    sort_into(tmp_path / "out", paths, [0, 0])
    assert [Path(unescaped(name)) for name, *_ in listed(tmp_path / "out")[1:]] == paths
    for i, (*_, place) in enumerate(listed(tmp_path / "out")[1:]):
        assert (tmp_path / "out" / unescaped(place)).read_text() == str(i)


def test_a_link_is_the_same_file_and_a_copy_is_not(tmp_path: Path) -> None:
    (path,) = files(tmp_path, "a.png")
    assert sort_into(tmp_path / "links", [path], [0]).how == {"hard link": 1}
    assert sort_into(tmp_path / "copies", [path], [0], "copy").how == {"copy": 1}
    os.utime(path, (1, 1))
    path.write_text("edited")
    assert (tmp_path / "links/class-00/a.png").read_text() == "edited"
    assert (tmp_path / "copies/class-00/a.png").read_text() == "0"


@pytest.mark.parametrize("ways", [("hard link", "symbolic link", "copy"), ("symbolic link", "copy"), ("copy",)])
def test_a_file_that_is_gone_is_counted_and_no_link_leads_nowhere(
    ways: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    for way in {"hard link", "symbolic link"} - set(ways):
        monkeypatch.setitem(sorting.WAYS, way, refused)
    paths = files(tmp_path, "a.png", "b.png", "c.png")
    paths[1].unlink()
    result = sort_into(tmp_path / "out", paths, [0, 0, 1])
    assert result.how == {ways[0]: 2} and result.missing == (paths[1],)
    assert found(tmp_path / "out") == {"class-00/a.png": "0", "class-01/c.png": "2"}
    assert all(path.exists() for path in (tmp_path / "out").rglob("*"))
    assert listed(tmp_path / "out")[2] == [str(paths[1]), "0", ""]


# --- failures ---


def failing_at(number: int) -> Callable[[Path, Path], None]:
    """A copy that fails, as on a full disk, from that file on."""
    made = []

    def copy(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:1])
        made.append(target)
        if len(made) > number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return copy


@pytest.mark.parametrize("there_before", [False, True])
def test_a_failure_half_way_leaves_nothing(there_before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = files(tmp_path, "a.png", "b.png", "c.png")
    out = tmp_path / "new" / "out"
    if there_before:
        out.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setitem(sorting.WAYS, "copy", failing_at(1))
    with pytest.raises(ConfigError, match=r"^--sort-into .*No space left"):
        sort_into(out, paths, [0, 1, 2], "copy")
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.undo()
    check_place(out, tmp_path / "images")
    assert sort_into(out, paths, [0, 1, 2], "copy").how == {"copy": 3}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(source: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (path,) = files(tmp_path, "a.png")
    monkeypatch.setitem(sorting.WAYS, "copy", denied)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="a.png: cannot be read"):
        sort_into(tmp_path / "out", [path], [0], "copy")
    assert not (tmp_path / "out").exists()


KILLED = """
import os, sys, time
from pathlib import Path
from fastgan.inference import sorting
def copy(source, target):
    target.write_bytes(source.read_bytes())
    if len(list(target.parent.iterdir())) == 2:
        print("half", flush=True)
        time.sleep(600)
sorting.WAYS["copy"] = copy
images = sorted(Path(sys.argv[1]).iterdir())
sorting.sort_into(Path(sys.argv[2]), images, [0] * len(images), "copy")
"""


def test_what_a_killed_process_leaves_is_removed_but_not_what_a_running_one_makes(tmp_path: Path) -> None:
    paths, out = files(tmp_path, "a.png", "b.png", "c.png"), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "images"), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None and process.stdout.readline() == b"half\n"
    with pytest.raises(ConfigError, match="not empty"):
        check_place(out, tmp_path / "images")
    process.kill()
    process.wait()
    process.stdout.close()
    assert [path.name[: len(sorting.PARTIAL)] for path in out.iterdir()] == [sorting.PARTIAL]
    deadline = time.monotonic() + 10
    while any(out.iterdir()) and time.monotonic() < deadline:
        check_place(out, tmp_path / "images")
    assert sort_into(out, paths, [0, 0, 0]).how == {"hard link": 3}
    assert {path.name for path in out.iterdir()} == {"class-00", *OWN}


def test_a_class_that_another_makes_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, out = files(tmp_path, "a.png", "b.png"), tmp_path / "out"

    def slow(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())
        (out / "class-01").mkdir(exist_ok=True)
        (out / "class-01" / "theirs").write_text("theirs")

    monkeypatch.setitem(sorting.WAYS, "copy", slow)
    with pytest.raises(ConfigError, match="class-01 was made there meanwhile"):
        sort_into(out, paths, [0, 1], "copy")
    assert found(out) == {"class-01/theirs": "theirs"}
