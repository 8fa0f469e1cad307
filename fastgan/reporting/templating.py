"""Pages from templates: one file each, with its style and script inside it, under a policy that lets in nothing else.

Everything that a template shows is escaped, names also as `fastgan.text.printable` does it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from fastgan.text import printable, words

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, style: str = "style.css", scripts: Sequence[str] = (), **values: Any) -> str:
    """A page as HTML.

    Args:
        template, style, scripts: names of files in templates/; base.css comes before the style. The template puts
            `style` and `script` into their elements, with nothing else in them, and `policy` into its
            Content-Security-Policy.
        values: what the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # Markup is escaped already
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"flags": _flags, "listed": words}
    css, code = _source("base.css") + _source(style), "".join(map(_source, scripts))
    return environment.get_template(template).render(
        style=Markup(css), script=Markup(code), policy=policy(css, code), **values
    )


def policy(style: str, script: str = "") -> str:
    """A Content-Security-Policy that allows pictures inside the page, this style and this script, and nothing else."""
    scripts = f"script-src {_digest(script)}; " if script else ""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; {scripts}base-uri 'none'; form-action 'none'"
    )


def _source(name: str) -> str:
    """A style or a script; it is our own, and closes no element."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _flags(text: str) -> Markup:
    """A sentence, escaped, in which no line ends within a flag."""
    return Markup(re.sub(r"(--[a-z][a-z.-]*[a-z])", r"<code>\1</code>", str(escape(text))))
