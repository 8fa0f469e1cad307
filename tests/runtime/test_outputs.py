"""Places of outputs are checked before the work, and what was written is known as an output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastgan.errors import ConfigError
from fastgan.runtime import outputs


def test_what_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    for path in (tmp_path / "a.csv", tmp_path / "new" / "deep" / "a.csv"):
        outputs.check_file("--out", path, force=False)
    outputs.check_folder("--out", tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("a.csv", "dangling"):
        with pytest.raises(ConfigError, match=f"--out .*{name}: is there already; add --force"):
            outputs.check_file("--out", tmp_path / name, force=False)
        outputs.check_file("--out", tmp_path / name, force=True)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("folder", "is a folder; name a file"),
        ("file/x.csv", "cannot be written .Not a directory"),
        ("file/deep/x.csv", "cannot be written .Not a directory"),
        ("x" * 252 + ".csv", "cannot be written .a name is too long"),
        ("y" * 300 + "/x.csv", "cannot be written .a name is too long"),
        ("dangling/x.csv", "cannot be written"),
        ("x.txt", "its ending must be one of .csv"),
    ],
)
def test_a_place_where_nothing_can_be_is_refused(tmp_path: Path, name: str, cause: str, force: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=f"--out .*{cause}"):
        outputs.check_file("--out", tmp_path / name, force=force, endings=[".csv"] if name == "x.txt" else [])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a folder where nobody may write")
def test_a_folder_without_the_right_to_write_is_refused() -> None:
    with pytest.raises(ConfigError, match="--json /proc/x.json: cannot be written"):
        outputs.check_file("--json", Path("/proc/x.json"), force=False)


@pytest.mark.skipif(os.name == "nt", reason="devices are others there")
def test_devices_and_pipes_can_be_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/null"), Path("/dev/stdout"), tmp_path / "pipe"):
        outputs.check_file("--json", path, force=False)


def test_pictures_are_kept_out_of_the_images_but_for_a_runs_folder(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    run, marked = photos / "runs" / "a", photos / "sorted"
    for folder in (run / "samples", marked):
        folder.mkdir(parents=True)
    (run / "run.json").touch()
    outputs.mark(marked)
    for path in (photos / "x.png", photos / "new" / "x.png", photos / "runs" / "x.png", photos):
        with pytest.raises(ConfigError, match="would be read as one of its images"):
            outputs.check_not_read("--out", path, photos)
    for path in (run / "samples" / "x.png", marked / "x.png", tmp_path / "x.png"):
        outputs.check_not_read("--out", path, photos)
    outputs.check_not_read("--out", photos / "x.png", None)


def test_a_folder_of_somebody_elses_files_is_not_marked(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").touch()
    outputs.mark(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]
    outputs.mark(tmp_path / "new")
    outputs.mark(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [outputs.MARKER]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"run.json", "checkpoints"}, True),
        ({"run.json", "metrics.jsonl", "a.png"}, True),
        ({"run.json", "a.png"}, False),  # another program's
        ({"sweep.json", "rows"}, True),
        ({"rows", "a.png"}, False),
        ({outputs.MARKER, "a.png"}, True),
        (set(), False),
    ],
)
def test_outputs_are_known_by_what_lies_in_them(names: set[str], expected: bool) -> None:
    assert outputs.is_output(names) is expected
