"""What the documents point to is there, and not only on the machine that wrote them."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from fastgan.__main__ import COMMANDS
from fastgan.config.train_command import TrainCommandConfig

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/results/README.md"]
DOCUMENTS += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))


def links(document: str) -> list[str]:
    """The files that a document shows or points to."""
    found = re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    return [link.partition("#")[0] for link in found if "://" not in link and not link.startswith("#")]


def anchors(document: Path) -> set[str]:
    """What GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_documents_have_links() -> None:
    assert len(links("README.md")) > 5 and len(links("docs/prior.md")) > 1


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    missing = [link for link in links(document) if not (ROOT / document).parent.joinpath(link).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS)
def test_anchors_are_headings(document: str) -> None:
    found = re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    for link, anchor in found:
        path = (ROOT / document).parent / link if link else ROOT / document
        assert anchor in anchors(path), f"{link}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_are_there(document: str) -> None:
    """With their folders, as seen from the repository or from fastgan/, or alone."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for name in set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|sh))`", text)):
        places = [ROOT / name, ROOT / "fastgan" / name]
        alone = "/" not in name and any(
            list((ROOT / top).rglob(name)) for top in ("fastgan", "kernels", "bench", "tests")
        )
        assert alone or any(place.exists() for place in places), name


def test_the_index_names_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", (ROOT / "docs/README.md").read_text(), re.MULTILINE)) == pages


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_linked_is_kept_by_git(document: str) -> None:
    """A file that git ignores is there until the next clone."""
    if not (ROOT / ".git").exists():
        pytest.skip("no clone")
    for link in links(document):
        path = ((ROOT / document).parent / link).resolve()
        ignored = subprocess.run(["git", "check-ignore", "-q", str(path)], cwd=ROOT, check=False)
        assert ignored.returncode == 1, f"{link} is ignored by git"


# --- commands ---

OF_OTHERS = {  # not ours
    *("nproc-per-node", "standalone", "logdir", "help", "long", "only", "query-gpu", "format"),
    *("require-hashes", "no-deps", "help-all", "version", "build-arg"),
}


def commands(document: str) -> list[tuple[str, list[str]]]:
    """The modules of ours that a document calls, each with the flags that it is given."""
    text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"-m ((?:fastgan|bench)(?:\.\w+)+)([^`\n]*)", text)
    return [(module, re.findall(r"--([a-z][\w.-]*)", flags)) for module, flags in found]


def fields(kind: Any, prefix: str = "") -> set[str]:
    """The flags that tyro makes of a dataclass."""
    found = set()
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            found |= fields(hint, f"{prefix}{name}.")
        else:
            found.add((prefix + name).replace("_", "-"))
    return found


def flags_of(module: str) -> set[str]:
    if module.startswith("bench."):
        source = Path(str(importlib.util.find_spec(module).origin)).read_text(encoding="utf-8")  # type: ignore[union-attr]
        return set(re.findall(r"--([a-z][\w-]*)", source))
    made = vars(importlib.import_module(module)).values()
    kinds = [kind for kind in made if isinstance(kind, type) and kind.__name__.endswith("Config")]
    kinds += [TrainCommandConfig] if module == "fastgan.train" else []
    return set().union(*(fields(kind) for kind in kinds if dataclasses.is_dataclass(kind)))


def unknown(flags: list[str], known: set[str]) -> list[str]:
    return [flag for flag in flags if flag not in known and flag.removeprefix("no-") not in known]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_there_with_its_flags(document: str) -> None:
    for module, flags in commands(document):
        assert importlib.util.find_spec(module) is not None, module
        assert not unknown(flags, flags_of(module)), f"{module} does not know all of {flags}"


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_every_flag_that_a_document_names_is_there(document: str) -> None:
    """In a command or beside it; CHANGELOG.md tells of flags that are gone."""
    text = (ROOT / document).read_text(encoding="utf-8")
    called = {module for name in DOCUMENTS for module, _ in commands(name)}
    known = OF_OTHERS.union(*(flags_of(module) for module in {*called, "bench.conftest"}))
    assert not unknown(re.findall(r"(?<![\w-])--([a-z][a-z.-]*[a-z0-9])", text), known)


def test_every_command_is_documented() -> None:
    ours = {f"fastgan.{command.module}" for command in COMMANDS.values()}
    assert ours == {
        f"fastgan.{path.stem}"
        for path in (ROOT / "fastgan").glob("[!_]*.py")
        if "run_command" in path.read_text(encoding="utf-8")
    }
    for document in ("README.md", "docs/running.md"):
        assert ours <= {module for module, _ in commands(document)}
