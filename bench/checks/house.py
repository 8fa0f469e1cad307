"""The measure of the house: how fastgan/ is laid out, read off its import statements alone.

`python -m bench.checks.house` prints the tree and the table, and below them the names behind the numbers that should
be small. `--write` puts both into CONTRIBUTING.md, where tests/test_house.py compares them with fresh ones.

A room is a folder of fastgan/; the commands, its files that are run, are one more. Their order, bottom to top, is that
of ROOMS in tests/test_imports.py, which is read as text, since bench imports nothing of the tests.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMANDS = "commands"
LONG = 50  # lines of a function, its docstring included
MARK, END = "<!-- {} by python -m bench.checks.house --write -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class House:
    """What is measured. An arrow (a, b) says that some file of room a imports from room b."""

    order: list[str]
    arrows: set[tuple[str, str]]
    upward: list[tuple[str, str]]
    circles: list[list[str]]
    floors: int
    files: list[str]
    longest: tuple[str, int]
    long_functions: list[str]

    def table(self) -> str:
        """As Markdown, one row a figure."""
        name, lines = self.longest
        rows = {
            "rooms (the folders, and the commands as one)": len(self.order),
            "floors (rooms on the longest chain of imports)": self.floors,
            "arrows between rooms (one room imports another)": len(self.arrows),
            "arrows that run upward": len(self.upward),
            "circles": len(self.circles),
            "files directly in `fastgan/`": len(self.files),
            "lines of the longest file": f"{lines} (`{name}`)",
            f"functions past {LONG} lines": len(self.long_functions),
        }
        return "| the house | now |\n| --- | --- |\n" + "".join(f"| {what} | {now} |\n" for what, now in rows.items())

    def names(self) -> str:
        """The names behind the numbers that should be small."""
        lines = [f"upward: {importer} -> {imported}" for importer, imported in self.upward]
        lines += [f"circle: {' <-> '.join(circle)}" for circle in self.circles]
        return "\n".join(lines + [f"long: {name}" for name in self.long_functions])


def rooms_in_order(root: Path = ROOT) -> list[str]:
    """The keys of ROOMS in tests/test_imports.py, bottom to top."""
    path = root / "tests" / "test_imports.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "ROOMS":
            assert node.value is not None
            return list(ast.literal_eval(node.value))
    raise SystemExit(f"{path} has no table ROOMS")


def measure(package: Path, order: list[str]) -> House:
    """Measure the package in the folder `package`, whose rooms are `order`, bottom to top."""
    paths = sorted(package.rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    arrows: set[tuple[str, str]] = set()
    for path, tree in trees.items():
        own = _room(package, path.relative_to(package).with_suffix("").parts, order)
        for name in imported(tree):
            first, *rest = name.split(".")
            other = _room(package, tuple(rest), order) if first == package.name and rest else None
            if own and other and own != other:
                arrows.add((own, other))
    below = {room: {other for own, other in arrows if own == room} for room in order}
    reach = {room: _reachable(room, below) for room in order}
    circles = {tuple(other for other in order if other in reach[room] and room in reach[other]) for room in order}
    long = max(paths, key=lambda path: len(path.read_text(encoding="utf-8").splitlines()))
    return House(
        order=order,
        arrows=arrows,
        upward=sorted((own, other) for own, other in arrows if order.index(own) < order.index(other)),
        circles=sorted(list(circle) for circle in circles if circle),
        floors=max(_height(room, below, reach) for room in order),
        files=sorted(path.name for path in package.glob("*.py")),
        longest=(str(long.relative_to(package.parent)), len(long.read_text(encoding="utf-8").splitlines())),
        long_functions=sorted(
            f"{path.relative_to(package.parent)}: {name}, {lines} lines"
            for path, tree in trees.items()
            for name, lines in _functions(tree)
            if lines > LONG
        ),
    )


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names of everything that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(package: Path, parts: tuple[str, ...], order: list[str]) -> str | None:
    """The room of a dotted name; None for the small files beside the rooms, which every room may import."""
    if parts[0] in order:
        return parts[0]
    beside = package / f"{parts[0]}.py"
    return COMMANDS if COMMANDS in order and beside.exists() and _is_run(beside) else None


def _is_run(path: Path) -> bool:
    return '__name__ == "__main__"' in path.read_text(encoding="utf-8")


def _reachable(room: str, below: Mapping[str, set[str]]) -> set[str]:
    """All that a room imports, directly or through others; itself too if it is part of a circle."""
    found: set[str] = set()
    waiting = set(below[room])
    while waiting:
        found |= waiting
        waiting = set().union(*(below[other] for other in waiting)) - found
    return found


def _height(room: str, below: Mapping[str, set[str]], reach: Mapping[str, set[str]]) -> int:
    """Rooms on the longest chain of imports that begins here; a circle counts as one floor."""
    circle = {other for other in reach[room] if room in reach[other]} | {room}
    under = set().union(*(below[other] for other in circle)) - circle
    return 1 + max((_height(other, below, reach) for other in under), default=0)


def _functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def tree(package: Path, order: list[str]) -> str:
    """The rooms, top to bottom, each with the first line of its docstring and its files."""
    beside = [path for path in sorted(package.glob("*.py")) if path.stem != "__init__"]
    lines = [f"{package.name}/"]
    for room in reversed(order):
        if room == COMMANDS:
            what, files = (
                "Run as python -m fastgan.train and so on: they read the command line, and refuse mistakes.",
                [p for p in beside if _is_run(p)],
            )
        else:
            what = (
                ast.get_docstring(ast.parse((package / room / "__init__.py").read_text(encoding="utf-8"))) or ""
            ).split("\n")[0]
            files = [path for path in sorted((package / room).glob("*.py")) if path.stem != "__init__"]
        name = "the commands" if room == COMMANDS else f"{room}/"
        lines += [f"  {name:14}{what}", f"  {'':14}{' '.join(path.stem for path in files)}"]
    lines += [
        f"  {' '.join(path.stem for path in beside if not _is_run(path))}",
        f"  {'':14}Small files that every room may import.",
    ]
    return "```\n" + "\n".join(lines) + "\n```\n"


def sections(root: Path = ROOT) -> dict[str, str]:
    """What CONTRIBUTING.md prints, by the name in its mark."""
    package, order = root / "fastgan", rooms_in_order(root)
    return {"tree": tree(package, order), "table": measure(package, order).table()}


def printed(document: str, name: str) -> str:
    """The section of that name that stands in a document between its two marks."""
    return document.partition(MARK.format(name))[2].partition(END)[0]


def main() -> None:
    """Print tree and table, or put them into CONTRIBUTING.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put them into CONTRIBUTING.md")
    path, found = ROOT / "CONTRIBUTING.md", sections()
    if parser.parse_args().write:
        text = path.read_text(encoding="utf-8")
        for name, section in found.items():
            mark = MARK.format(name)
            assert mark in text, f"{path} has no place for the {name}"
            text = text.replace(mark + printed(text, name) + END, mark + section + END)
        path.write_text(text, encoding="utf-8")
    print("\n".join(found.values()))
    print(measure(ROOT / "fastgan", rooms_in_order()).names())


if __name__ == "__main__":
    main()
