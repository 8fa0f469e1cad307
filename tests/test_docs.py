"""What the documents point to is there, and not only on the machine that wrote them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/results/README.md", "docs/prior.md"]


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
