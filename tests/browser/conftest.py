"""A real browser for tests of pages: Chromium, by playwright, and axe-core, which looks for barriers.

Both are optional: without Chromium on the PATH, or without a package of the extra `dev`, tests here are skipped, and
say which of them is missing. Nothing is loaded from a network, and pages are opened from disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PHONE, DESK = 390, 1300  # CSS pixels
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]  # WCAG 2 at A and AA
# Listens before the page's own first line.
WATCH = """addEventListener("securitypolicyviolation", event => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
});"""


@dataclass
class Visit:
    """A page in the browser. complaints: errors of the console and of scripts, and what its own policy refused."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # addresses that it asked for

    def barriers(self, *without: str) -> list[str]:
        """What axe-core finds against WCAG 2 A and AA, a line a rule, less the rules `without`."""
        module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
        rules = {rule: {"enabled": False} for rule in without}
        only = {"type": "tag", "values": LEVELS}
        found = module.Axe().run(self.page, options={"runOnly": only, "rules": rules}).response
        assert len(found["passes"]) > 5, "axe has looked at the page"
        return [
            f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes'][:3]]}"
            for each in found["violations"]
        ]

    def too_wide(self) -> int:
        """CSS pixels by which the page is wider than the window."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wide

    def printed(self, path: Path) -> int:
        """Print it on A4, and count the pages."""
        self.page.pdf(path=str(path), format="A4")
        return len(re.findall(rb"/Type\s*/Page\b", path.read_bytes()))


@pytest.fixture
def visit(browser: Any) -> Callable[..., Any]:
    """`with visit(path, width=PHONE, dark=True) as seen:` opens a page from disk, alone, without a network."""

    @contextmanager
    def opened(path: Path, *, width: int = DESK, dark: bool = False) -> Iterator[Visit]:
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        seen = Visit(context.new_page())
        page = seen.page
        page.on("console", lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else 0)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (seen.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: seen.asked.append(request.url))
        page.add_init_script(WATCH)
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        try:
            yield seen
        finally:
            context.close()

    return opened
