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

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/results/README.md"]
DOCUMENTS += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))


def links(document: str) -> list[str]:
    """The files that a document shows or points to."""
    found = re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    return [link.partition("#")[0] for link in found if "://" not in link and not link.startswith("#")]


def test_the_documents_have_links() -> None:
    assert len(links("README.md")) > 5 and len(links("docs/prior.md")) > 1


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    missing = [link for link in links(document) if not (ROOT / document).parent.joinpath(link).exists()]
    assert not missing


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

OF_OTHERS = {"nproc-per-node", "standalone", "logdir", "help", "long", "only"}  # not ours


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
    return set().union(*(fields(kind) for kind in kinds if dataclasses.is_dataclass(kind)))


def unknown(flags: list[str], known: set[str]) -> list[str]:
    return [flag for flag in flags if flag not in known and flag.removeprefix("no-") not in known]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_there_with_its_flags(document: str) -> None:
    for module, flags in commands(document):
        assert importlib.util.find_spec(module) is not None, module
        assert not unknown(flags, flags_of(module)), f"{module} does not know all of {flags}"


def test_every_flag_that_the_readme_names_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    known = OF_OTHERS.union(*(flags_of(module) for module, _ in commands("README.md")))
    assert len(commands("README.md")) > 15
    assert not unknown(re.findall(r"(?<![\w-])--([a-z][a-z.-]*[a-z])", text), known)
