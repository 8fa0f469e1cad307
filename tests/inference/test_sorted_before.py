"""Sorting into a folder of an earlier call: with force it is replaced, if nothing in it is the user's own."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_sorting import OWN, failing_at, files, found

from fastgan.errors import ConfigError
from fastgan.inference import sorting
from fastgan.inference.sorting import LIST, SortAs, check_place, sort_into


@pytest.mark.parametrize("how", ["link", "copy"])
def test_a_sorted_folder_is_replaced_by_force_alone(how: SortAs, tmp_path: Path) -> None:
    paths, out = files(tmp_path, "a.png", "b.png", "c.png"), tmp_path / "out"
    sort_into(out, paths, [0, 1, 2], how)
    (out / "class-01" / "b.png").unlink()  # to remove some is to lose nothing
    before = found(out)
    with pytest.raises(ConfigError, match="sorted before; add --force to replace them, or name a new"):
        check_place(out, tmp_path / "images")
    with pytest.raises(ConfigError, match="class-0. was made there meanwhile"):
        sort_into(out, paths, [0, 1, 2], how)
    assert found(out) == before
    check_place(out, tmp_path / "images", force=True)
    sort_into(out, paths[:2], [3, 0], how, force=True)
    assert found(out) == {"class-03/a.png": "0", "class-00/b.png": "1"}
    assert {path.name for path in out.iterdir()} == {"class-00", "class-03", *OWN}
    assert [path.read_text() for path in paths] == ["0", "1", "2"]
    for place in (tmp_path / "new", tmp_path / "empty"):  # force is for these too
        check_place(place, tmp_path / "images", force=True)
        sort_into(place, paths, [0, 1, 2], how, force=True)
        assert len(found(place)) == 3
        (tmp_path / "empty").mkdir(exist_ok=True)


def edit_a_copy(out: Path) -> None:
    shutil.copy2(out / "class-00" / "a.png", out / "a.png")
    (out / "class-00" / "a.png").unlink()
    (out / "a.png").rename(out / "class-00" / "a.png")
    (out / "class-00" / "a.png").write_text("edited")


HINDRANCES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no list": (lambda out: (out / LIST).unlink(), "holds no list of sorted files"),
    "another list": (lambda out: (out / LIST).write_text("path,class\n"), "holds no list of sorted files"),
    "a list of bytes": (lambda out: (out / LIST).write_bytes(b"\xff\0"), "holds no list of sorted files"),
    "a file": (lambda out: (out / "notes.txt").write_text("mine"), "holds notes.txt, which was not sorted there"),
    "in a class": (lambda out: (out / "class-00" / "d.png").write_text("mine"), "holds class-00/d.png, which was not"),
    "a folder": (lambda out: (out / "class-00" / "more").mkdir(), "holds class-00/more, which was not sorted there"),
    "a class": (lambda out: shutil.copytree(out / "class-00", out / "class-07"), "holds class-07/a.png, which"),
    "gone": (lambda out: (out.parent / "images" / "b.png").unlink(), "may hold the only copy of class-01/b.png"),
    "edited": (edit_a_copy, "may hold the only copy of class-00/a.png"),
}


@pytest.mark.parametrize("how", ["link", "copy"])
@pytest.mark.parametrize("name", HINDRANCES)
def test_what_is_the_users_own_stays(name: str, how: SortAs, tmp_path: Path) -> None:
    """Before the work, and where it came there during the work."""
    paths, out = files(tmp_path, "a.png", "b.png", "c.png"), tmp_path / "out"
    sort_into(out, paths, [0, 1, 2], how)
    change, said = HINDRANCES[name]
    change(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=said):
        check_place(out, tmp_path / "images", force=True)
    with pytest.raises(ConfigError, match=said):
        sort_into(out, paths[2:], [0], how, force=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert not list(out.glob(f"{sorting.PARTIAL}*"))


def test_two_links_to_one_file_do_not_count_for_each_other(tmp_path: Path) -> None:
    (path,), out = files(tmp_path, "a.png"), tmp_path / "out"
    (tmp_path / "images" / "b.png").symlink_to(path)
    sort_into(out, [path, tmp_path / "images" / "b.png"], [0, 1])
    assert (out / "class-00" / "a.png").samefile(out / "class-01" / "b.png")
    check_place(out, tmp_path / "images", force=True)
    path.unlink()
    with pytest.raises(ConfigError, match="may hold the only copy of class-00/a.png"):
        check_place(out, tmp_path / "images", force=True)


def test_a_folder_that_holds_the_files_to_be_sorted_stays(tmp_path: Path) -> None:
    paths, out = files(tmp_path, "a.png", "b.png"), tmp_path / "out"
    sort_into(out, paths, [0, 0], "copy")
    with pytest.raises(ConfigError, match=r"out: holds .*class-00, which is to be sorted; name another folder"):
        check_place(out, out / "class-00", force=True)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.png").symlink_to(out / "class-00" / "a.png")
    with pytest.raises(ConfigError, match="a.png, which is to be sorted"):
        sort_into(out, [tmp_path / "linked" / "a.png"], [1], "copy", force=True)
    assert found(out) == {"class-00/a.png": "0", "class-00/b.png": "1"}
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(ConfigError, match="is no folder; name a new one"):
        check_place(tmp_path / "link", tmp_path / "images", force=True)


@pytest.mark.parametrize("at", ["copying", "moving"])
def test_a_failure_leaves_what_was_sorted_before(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, out = files(tmp_path, "a.png", "b.png", "c.png"), tmp_path / "out"
    sort_into(out, paths, [0, 1, 2], "copy")
    before, real = sorted(tmp_path.rglob("*")), Path.rename

    def rename(self: Path, target: Path) -> Path:
        if target.parent == out and target.name == "class-05" and self.parent.parent == out:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, target)

    if at == "copying":
        monkeypatch.setitem(sorting.WAYS, "copy", failing_at(1))
    else:
        monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ConfigError, match="^--sort-into .*cannot be written"):
        sort_into(out, paths, [3, 4, 5], "copy", force=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert found(out) == {"class-00/a.png": "0", "class-01/b.png": "1", "class-02/c.png": "2"}
