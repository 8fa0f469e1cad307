"""compare.html: one page that compares runs on the same images; python -m fastgan.page RUN RUN2 writes it.

Legend: N images, K codes.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.data.image_set import ImageSet
from fastgan.evaluation import choice_of_k, diagnosis, metrics, run_reading
from fastgan.evaluation.choice_of_k import Level, Suggestion
from fastgan.evaluation.code_summary import chosen_images
from fastgan.evaluation.comparison import INSIDE, SAME, Comparison, LoneGroup, compare
from fastgan.evaluation.run_reading import RunReading
from fastgan.reporting import comparison_charts, images, templating
from fastgan.reporting.images import Picture
from fastgan.reporting.labels import SHOWN
from fastgan.text import pluralize, unescaped

PICTURES = 6  # of a group or of a move
TRIED = 16  # images whose size as pictures tells how large all may be
GROUPS, MOVES = 40, 12  # of a pair of runs, at most, that are shown
NOT_COMPARED = {"run_dir", "cache_dir", "resume", "dry_run"}  # settings that say nothing of the result


@dataclass(frozen=True)
class Line:
    """A group that both runs have, or that moved: named for either run, with pictures."""

    first: str
    second: str
    both: int
    share: float
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Lone:
    """A group that only one of two runs has, and where its images are in the other."""

    name: str
    size: int
    where: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Pair:
    """Two runs beside each other. moved: images that are in no matched pair; left_out: lines that are not shown."""

    first: str
    second: str
    reading: str
    found: Comparison
    same: Sequence[Line]
    only_first: Sequence[Lone]
    only_second: Sequence[Lone]
    moves: Sequence[Line]
    moved: int
    left_out: int


@dataclass(frozen=True)
class Page:
    """Everything that the template shows. runs: letter, name, K, seed. matrix: adjusted Rand index of each two runs."""

    title: str
    data: str
    summary: Sequence[str]
    doubts: Sequence[str]
    runs: Sequence[tuple[str, str, int, int]]
    matrix: Sequence[tuple[str, Sequence[float | None]]]
    pairs: Sequence[Pair]
    levels: Sequence[Level]
    suggestion: Suggestion | None
    chart: Picture | None
    figures: Sequence[tuple[str, Sequence[str]]]
    settings: Sequence[tuple[str, Sequence[str]]]
    pixelated: bool


def write(path: Path, readings: Sequence[RunReading], images_: ImageSet) -> None:
    """Write the comparison of two runs or more, atomically. Raises OSError."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(render(collect(readings, images_)), encoding="utf-8")
    partial.replace(path)


def render(page: Page) -> str:
    """The page as HTML."""
    return templating.render("compare.html.j2", style="compare.css", page=page, same=SAME, inside=INSIDE)


def collect(readings: Sequence[RunReading], shown: ImageSet) -> Page:
    """Compare the first run with each other one, and put what the page shows into words and pictures."""
    letters = [_letter(i) for i in range(len(readings))]
    gallery = _Gallery(shown, readings, letters)
    pairs = [_pair(readings[0], other, letters[0], letters[i], gallery) for i, other in enumerate(readings[1:], 1)]
    levels = choice_of_k.levels(readings)
    suggestion = choice_of_k.suggest(levels) if len(levels) > 1 else None
    count = len(readings[0].codes_N)
    return Page(
        title=f"{pluralize(len(readings), 'run')} compared",
        data=f"{count:,} images of {shown.images.shape[-1]} x {shown.images.shape[-1]} pixels",
        summary=_summary(pairs, suggestion),
        doubts=run_reading.doubts(readings),
        runs=[(x, run.name, run.classes, run.config.seed) for x, run in zip(letters, readings, strict=True)],
        matrix=_matrix(readings, letters) if len(readings) > 2 else [],
        pairs=pairs,
        levels=levels if suggestion is not None else [],
        suggestion=suggestion,
        chart=None if suggestion is None else _chart(levels, suggestion),
        figures=_figures(readings),
        settings=_settings(readings),
        pixelated=gallery.side < 64,
    )


def _letter(number: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    turn, place = divmod(number, 26)
    return string.ascii_uppercase[place] + (str(turn + 1) if turn else "")


class _Gallery:
    """Names of groups and pictures of images, the same all over the page."""

    def __init__(self, shown: ImageSet, readings: Sequence[RunReading], letters: Sequence[str]) -> None:
        self.images = shown
        per_pair = 2 * GROUPS + MOVES
        some = chosen_images(shown, torch.arange(0, len(shown.images), -(-len(shown.images) // TRIED)))
        self.side = images.suited_side(some, PICTURES * per_pair * max(1, len(readings) - 1))
        self._classes = {x: _majorities(run, shown) for x, run in zip(letters, readings, strict=True)}

    def name(self, letter: str, code: int) -> str:
        """Such as A 3, or A 3 (mostly cat) where the images have labels."""
        known = self._classes[letter].get(code)
        return f"{letter}\N{NO-BREAK SPACE}{code}" + ("" if known is None else f" (mostly {known})")

    def pictures(self, index_M: Tensor, sure_N: Tensor, about: str) -> list[Picture]:
        """The first PICTURES of some images, those with the highest `sure_N` first."""
        best = index_M[sure_N[index_M].argsort(descending=True, stable=True)][:PICTURES]
        return [
            Picture(images.embedded(image, self.side), f"Image {int(number):,}, {about}")
            for number, image in zip(best, chosen_images(self.images, best), strict=True)
        ]


def _majorities(run: RunReading, shown: ImageSet) -> dict[int, str]:
    """The real class that most images of each group have, by its name; empty without labels."""
    if shown.labels is None:
        return {}
    counts_KC = metrics.count_matrix(run.codes_N, shown.labels, run.classes, shown.label_count)
    names = shown.class_names or [str(c) for c in range(shown.label_count)]
    return {k: names[int(counts_KC[k].argmax())] for k in range(run.classes) if int(counts_KC[k].sum())}


def _pair(first: RunReading, second: RunReading, a: str, b: str, gallery: _Gallery) -> Pair:
    found = compare(first.codes_N, second.codes_N, first.classes, second.classes)
    sure_N = first.confidences_N * second.confidences_N

    def lone(groups: Sequence[LoneGroup], letter: str, own: RunReading) -> list[Lone]:
        lines = []
        for group in groups[:GROUPS]:
            name = gallery.name(letter, group.code)
            shown = gallery.pictures(group.images_M, own.confidences_N, f"in group {name}")
            lines.append(Lone(name, group.size, group.where, shown))
        return lines

    same = []
    for group in found.same[:GROUPS]:
        index = torch.nonzero((first.codes_N == group.first) & (second.codes_N == group.second))[:, 0]
        names = gallery.name(a, group.first), gallery.name(b, group.second)
        shown = gallery.pictures(index, sure_N, f"in groups {names[0]} and {names[1]}")
        same.append(Line(*names, group.both, group.share, shown))
    moves = []
    for move in found.moves[:MOVES]:
        names = gallery.name(a, move.first), gallery.name(b, move.second)
        shown = gallery.pictures(move.images_M, sure_N, f"moved from group {names[0]} to {names[1]}")
        moves.append(Line(*names, len(move.images_M), len(move.images_M) / found.count, shown))
    moved = found.count - found.kept
    return Pair(
        first=a,
        second=b,
        reading=_reading(first, second, found, a, b),
        found=found,
        same=same,
        only_first=lone(found.only_first, a, first),
        only_second=lone(found.only_second, b, second),
        moves=moves,
        moved=moved,
        left_out=moved - sum(line.both for line in moves),
    )


def _reading(first: RunReading, second: RunReading, found: Comparison, a: str, b: str) -> str:
    """What the agreement of two runs means, in a sentence."""
    for letter, run in ((a, first), (b, second)):
        if run.collapsed:
            return f"{letter} has collapsed and has no groups to agree on."
        if run.hardly is not None:
            return f"This says nothing yet: {letter} is hardly trained."
    if found.inside is None:
        return diagnosis.agreement(found.ari)
    fewer, more = (a, b) if first.classes < second.classes else (b, a)
    return (
        f"{a} and {b} have different numbers of groups and cannot agree in all: {found.inside:.0%} of the images lie "
        f"in that group of {fewer} which holds most of their group of {more} (100%: {more} only splits what {fewer} "
        "has)."
    )


def _summary(pairs: Sequence[Pair], suggestion: Suggestion | None) -> list[str]:
    """How many groups and images agree, a sentence for each pair (the first three), and the K that is suggested."""
    found = []
    for pair in pairs[:3]:
        groups = pluralize(len(pair.found.same), "group is", "groups are")
        kept, count = pair.found.kept, pair.found.count
        found.append(
            f"{pair.first} and {pair.second}: {groups} the same, and {kept:,} of {count:,} images ({kept / count:.1%}) "
            f"keep their group; adjusted Rand index {pair.found.ari:.2f}."
            + ("" if pair.found.inside is not None else f" {pair.reading}")
        )
    if len(pairs) > 3:
        found.append(f"{pluralize(len(pairs) - 3, 'more comparison')} with {pairs[0].first} below.")
    return found if suggestion is None else [f"{suggestion.title}.", *found]


def _matrix(readings: Sequence[RunReading], letters: Sequence[str]) -> list[tuple[str, list[float | None]]]:
    """The adjusted Rand index of each two runs, by row; None on the diagonal."""
    indices: dict[frozenset[str], float] = {}
    for i, one in enumerate(readings):
        for j, other in enumerate(readings[:i]):
            indices[frozenset((letters[i], letters[j]))] = metrics.rand_index(one.codes_N, other.codes_N)
    return [(x, [indices.get(frozenset((x, y))) for y in letters]) for x in letters]


def _chart(levels: Sequence[Level], suggestion: Suggestion) -> Picture:
    last = "; ".join(
        f"K = {level.classes}: "
        + ("" if level.seeds is None else f"runs {level.seeds:.2f}, ")
        + f"transforms {level.views:.2f}"
        for level in levels
    )
    return images.chart(
        lambda theme: comparison_charts.stability_chart(levels, suggestion.classes, theme),
        f"Curves of agreement over the number of classes. {last}. The table has the figures.",
    )


def _figures(readings: Sequence[RunReading]) -> list[tuple[str, list[str]]]:
    """Figures of each run: those of its last evaluation, and what was read off for this page."""
    now: dict[str, list[Any]] = {
        "images shown in training": [run.images_seen for run in readings],
        "groups in use": [run.classes - len(run.unused) for run in readings],
        "groups, unused dropped, confused put together": [run.distinct for run in readings],
        "groups of equal size that would be as varied": [run.effective for run in readings],
        "agreement of images with transforms of them": [run.views for run in readings],
        "silhouette of the groups in Q's embedding": [run.silhouette for run in readings],
        "Q's mean confidence (not how often it is right)": [float(run.confidences_N.mean()) for run in readings],
    }
    for key, meaning in SHOWN.items():
        if key not in ("confidence", "effective_classes", "unused_codes"):
            now[f"{meaning.strip()}, last evaluation"] = [run.row.get(key) for run in readings]
    return [(name, [_number(value) for value in values]) for name, values in now.items() if set(values) != {None}]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _settings(readings: Sequence[RunReading]) -> list[tuple[str, list[str]]]:
    """The settings that are not the same in all runs, by the flag's name."""
    flat = [_flat({k: v for k, v in run.settings.items() if k not in NOT_COMPARED}) for run in readings]
    names = dict.fromkeys(name for each in flat for name in each)
    rows = [(f"--{name.replace('_', '-')}", [each.get(name, "–") for each in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by their dotted name, as text."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found[prefix + name] = " ".join(map(str, value))
        else:
            found[prefix + name] = "left out" if value is None else unescaped(str(value))
    return found
