"""The house of CONTRIBUTING.md: its printed measure is today's, and its rooms are stacked without a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.checks import house

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def today() -> house.House:
    return house.measure(ROOT / "fastgan", house.rooms_in_order())


def test_every_folder_has_a_place_in_the_order(today: house.House) -> None:
    folders = {path.name for path in (ROOT / "fastgan").iterdir() if list(path.glob("*.py"))}
    assert folders | {house.COMMANDS} == set(today.order)


@pytest.mark.parametrize("name", ["tree", "table"])
def test_contributing_prints_the_house_of_today(name: str) -> None:
    """Where it does not: `python -m bench.checks.house --write`."""
    assert house.printed((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), name) == house.sections()[name]


def test_no_room_imports_one_above_it(today: house.House) -> None:
    assert today.upward == []


def test_rooms_import_each_other_in_no_circle(today: house.House) -> None:
    assert today.circles == []


# --- what the measure sees ---


def _package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "fastgan" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "fastgan"


RUN = 'if __name__ == "__main__":\n    pass\n'


def test_floors_and_arrows_of_a_stack(tmp_path: Path) -> None:
    files = {
        "low/a.py": "import fastgan.errors\n",
        "middle/b.py": "from fastgan.low import a\nfrom fastgan.low.a import x\n",
        "top/c.py": "def late():\n    from fastgan.middle.b import y\n",
        "run.py": "from fastgan import top\n" + RUN,
        "errors.py": "",
    }
    found = house.measure(_package(tmp_path, files), ["low", "middle", "top", "commands"])
    assert found.arrows == {("middle", "low"), ("top", "middle"), ("commands", "top")}
    assert (found.floors, found.upward, found.circles) == (4, [], [])
    assert found.files == ["errors.py", "run.py"]


def test_an_arrow_up_and_a_circle_are_found(tmp_path: Path) -> None:
    files = {"low/a.py": "import fastgan.top.c\n", "middle/b.py": "", "top/c.py": "from fastgan.low import a\n"}
    found = house.measure(_package(tmp_path, files), ["low", "middle", "top"])
    assert found.upward == [("low", "top")] and found.circles == [["low", "top"]] and found.floors == 1


def test_long_functions_and_files_are_named(tmp_path: Path) -> None:
    body = "def long():\n" + "    pass\n" * house.LONG
    found = house.measure(_package(tmp_path, {"low/a.py": body, "low/b.py": "def short():\n    pass\n"}), ["low"])
    assert found.longest == ("fastgan/low/a.py", house.LONG + 1)
    assert found.long_functions == [f"fastgan/low/a.py: long, {house.LONG + 1} lines"]
