"""Pages for tests of the report: a state without training, and what must hold of every page."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fastgan.config.schema import NetworkConfig, TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.evaluation.code_summary import RunState
from fastgan.models.networks import Networks, Shape

HOSTILE = "<img src=x onerror=alert(1)>"
ENDING = "</script><script>alert(2)</script>"
VOID = {"meta", "link", "img", "source", "br", "input", "rect", "path"}


def state(classes: int = 3, *, labelled: bool = True, size: int = 16, channels: int = 1, **other: Any) -> RunState:
    """Untrained networks and noise for images: enough for a page."""
    torch.manual_seed(0)
    network = NetworkConfig(width=4, hidden=8, embedding=4)
    config = TrainConfig(image_size=size, classes=classes, network=network, batch_size=4, epochs=8000)
    networks = Networks(Shape(size, channels, classes, network))
    networks.initialise(0)
    images = torch.randint(0, 256, (40, channels, size, size), dtype=torch.uint8)
    labels = torch.arange(40) % 4 if labelled else None
    values: dict[str, Any] = {
        "config": config,
        "networks": networks,
        "generator": networks.generator,
        "prior_K": torch.full((classes,), 1 / classes),
        "images": ImageSet("noise", images, labels, 4 if labelled else 0),
        "images_seen": 320_000,
        "rows": [],
        "settings": {"settings": {"classes": classes}, "environment": {"versions": {"torch": torch.__version__}}},
        "device": torch.device("cpu"),
    }
    return RunState(**(values | other))


def of_files(here: Path, **other: Any) -> RunState:
    """Forty images that are files of a folder, of which those with even numbers exist."""
    paths = [f"{HOSTILE}/{i:02d} &{ENDING}.png" for i in range(40)]
    for path in paths[::2]:
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_bytes(b"")
    given = state(**other)
    config = dataclasses.replace(given.config, dataset="folder", data_dir=here)
    return dataclasses.replace(given, config=config, images=dataclasses.replace(given.images, paths=tuple(paths)))


class Reader(HTMLParser):
    """Elements with their attributes, text, and whether every element is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["style"], ["script"]):
            self.text += data

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def check_policy(html: str, found: Reader) -> None:
    """The page's policy lets in its own style and script by their hashes, pictures inside it, and nothing else."""
    (policy,) = [meta["content"] for meta in found.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and "unsafe" not in policy and "default-src 'none'" in policy
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        source = html.split(f"<{element}>")[1].split(f"</{element}>")[0]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy


def script_values(html: str) -> dict[str, Any]:
    """What the page's script is given."""
    found: dict[str, Any] = json.loads(html.split('id="data">')[1].split("</script>")[0])
    return found


def check(html: str) -> Reader:
    """What must hold of every page."""
    found = Reader(html)
    assert html.lstrip().startswith("<!DOCTYPE html>")
    assert found.of("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in found.of("meta"))
    assert [script.get("type") for script in found.of("script")] == ["application/json", None]
    assert not found.of("iframe", "object", "base")
    assert "http:" not in html and "https:" not in html and "url(" not in html and "@import" not in html
    handlers = [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert not handlers and not any("style" in attributes for _, attributes in found.elements)
    check_policy(html, found)
    for image in found.of("img"):
        assert image["alt"] and len(image["alt"].split()) > 3
    uris = [image["src"] for image in found.of("img")] + [source["srcset"] for source in found.of("source")]
    assert uris
    for uri in uris:
        assert uri is not None
        kind, content = uri.removeprefix("data:").split(";base64,")
        if kind == "image/svg+xml":
            drawn = xml.etree.ElementTree.fromstring(base64.b64decode(content, validate=True))
            assert drawn.tag.endswith("svg")
        else:
            assert kind in ("image/png", "image/webp", "image/jpeg")
            with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
                picture.load()
                assert picture.width > 1 and picture.height > 1
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes["aria-labelledby"] for _, attributes in found.elements if "aria-labelledby" in attributes}
    assert labelled <= set(ids)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in zip(levels, levels[1:], strict=False))
    return found
