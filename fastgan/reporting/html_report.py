"""report.html: one page that shows a run, with every picture inside it; python -m fastgan.page RUN writes it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from torch import Tensor

from fastgan.evaluation import code_summary, next_steps, run_findings, trust
from fastgan.evaluation.code_summary import RunState, RunSummary
from fastgan.evaluation.confusion import CONFUSED, MergeCandidate, merged
from fastgan.evaluation.diagnosis import STOPPED_EARLY
from fastgan.evaluation.finding import Finding
from fastgan.evaluation.group_images import outliers
from fastgan.evaluation.image_map import image_map
from fastgan.evaluation.metrics import UNUSED_SHARE
from fastgan.evaluation.near_duplicates import near_duplicates
from fastgan.evaluation.next_steps import Step
from fastgan.evaluation.run_findings import Found
from fastgan.reporting import images, map_picture, report_charts, templating
from fastgan.reporting.group_cards import Group, group_card, most_pictures, pictures_a_row
from fastgan.reporting.images import Picture
from fastgan.reporting.lettering import chart_names
from fastgan.reporting.script_data import script_data
from fastgan.reporting.shots import Originals, Shot, Shots
from fastgan.runs import run_folder
from fastgan.text import pluralize, unescaped

NAME = run_folder.REPORT
SHOWN_GROUPS = 100  # the largest ones, where there are more
SHOWN_OUTLIERS = 16
SHOWN_PAIRS = 12  # near-duplicates


@dataclass(frozen=True)
class Strip:
    """Real images beside a finding, a line about them, and what the model makes for their group, where that counts."""

    caption: str
    shots: Sequence[Shot]
    made: Sequence[Picture] = ()


@dataclass(frozen=True)
class Pair:
    """Two images with nearly the same pixels; `text` says how near they are."""

    first: Shot
    second: Shot
    text: str


@dataclass(frozen=True)
class Page:
    """Everything that the template shows.

    files: whether the images are files; steps: what to do next; doubtful: groups that may not be one kind;
    hidden_groups: how many groups have no card; by_number: the groups that have one, in the order of their numbers;
    confusion: a group and its images of each real class. numbered: number and name of the classes whose names the chart
    of frequencies could not show; data: what the script is given; unfinished: how far a run in training is, empty for
    one that is not.
    """

    title: str
    about: str
    files: bool
    summary: Sequence[str]
    findings: Sequence[tuple[Finding, Sequence[Strip]]]
    steps: Sequence[Step]
    doubtful: Sequence[int]
    hardly_trained: bool
    groups: Sequence[Group]
    by_number: Sequence[Group]
    hidden_groups: int
    pixelated: bool
    map: Picture
    map_text: str
    outliers: Sequence[Shot]
    outlier_count: int
    duplicates: Sequence[Pair]
    duplicate_count: int
    frequencies: Picture
    numbered: Sequence[tuple[str, str]]
    charts: Sequence[tuple[str, Picture]]
    classes: Sequence[str]
    confusion: Sequence[tuple[int, Sequence[int]]]
    figures: Sequence[tuple[str, str]]
    figures_after: int
    withheld: str
    effective: float
    unused: Sequence[int]
    merge: Sequence[MergeCandidate]
    prior_kind: str
    settings: Sequence[tuple[str, str]]
    environment: Sequence[tuple[str, str]]
    data: Markup
    unfinished: str = ""

    @property
    def of_all(self) -> list[str]:
        """The titles of the findings that speak of all groups."""
        return [finding.title for finding, _ in self.findings if finding.of_all]

    def steps_of(self, title: str) -> list[int]:
        """The numbers, from 1, of the steps that a finding asks for."""
        return [number for number, step in enumerate(self.steps, 1) if title in step.because]


def write(path: Path, state: RunState, unfinished: str = "") -> None:
    """Write a run's report, atomically. Raises OSError.

    Args:
        unfinished: of a run in training, how far it is; the page then loads itself again from time to time.
    """
    page = collect(state, path.parent)
    if unfinished:  # that it is not at its end is no finding then
        findings = [(finding, strips) for finding, strips in page.findings if finding.title != STOPPED_EARLY]
        steps = [Step("Wait until the run is at its end. This page then says what to do next.")]
        page = dataclasses.replace(page, unfinished=unfinished, findings=findings, steps=steps)
    partial = path.with_name(f".{path.name}")
    partial.write_text(render(page), encoding="utf-8")
    partial.replace(path)


def render(page: Page) -> str:
    """The page as HTML."""
    return templating.render(
        "report.html.j2",
        scripts=("page.js", "map.js"),
        page=page,
        rules=next_steps.RULES,
        unused_share=UNUSED_SHARE,
        confused=CONFUSED,
    )


def collect(state: RunState, beside: Path | None = None) -> Page:
    """Have the run measured, and put what the page shows into words and pictures.

    Args:
        beside: the folder of the page, from which it links to images in it.
    """
    run = code_summary.summarise_run(state)
    labelled, originals = run.counts_KC is not None, Originals(state, beside)
    side = _side(state, min(SHOWN_GROUPS, state.config.classes))
    shots = Shots(state, run, side, originals)
    groups, found = _groups(state, run, shots, side)
    by_number = sorted(groups, key=lambda group: group.number)
    counts = [] if run.counts_KC is None else run.counts_KC.tolist()
    names = chart_names(run.class_names if labelled else [])
    stand_for = {group.stands_for for group in groups}
    evaluated: dict[str, Any] = next((row for row in reversed(state.rows) if "confidence" in row), {})
    return Page(
        title=_title(state, run),
        about=_data(state, run),
        files=state.images.paths is not None,
        summary=_summary(state, run),
        findings=_with_pictures(found.findings, shots, groups),
        steps=next_steps.next_steps(found.findings, compared=state.beside_N is not None),
        doubtful=[group.number for group in groups if group.doubts],
        hardly_trained=run.hardly_trained,
        groups=groups,
        by_number=by_number,
        hidden_groups=state.config.classes - len(groups),
        pixelated=side < 64,
        **_alike(state, run, shots),
        **_map(state, run, originals, [group.number for group in groups]),
        frequencies=report_charts.frequencies(by_number, names, labelled=labelled),
        numbered=[(number, name) for number, name in names.numbered if name in stand_for],
        charts=report_charts.charts(state.rows, state.config.classes),
        classes=run.class_names if labelled else [],
        confusion=[(group.number, counts[group.number]) for group in by_number] if labelled else [],
        figures=report_charts.figures(
            evaluated, run.clustering if evaluated.get("images_seen") == state.images_seen else {}
        ),
        figures_after=evaluated.get("images_seen", 0),
        withheld=report_charts.withheld(evaluated, labelled=labelled),
        effective=run.effective,
        unused=run.unused,
        merge=run.merge,
        prior_kind="learned" if state.config.prior == "learned" else "fixed",
        settings=_flat(state.settings["settings"]),
        environment=_flat(state.settings["environment"]),
    )


def _groups(state: RunState, run: RunSummary, shots: Shots, side: int) -> tuple[list[Group], Found]:
    """The groups, the largest first, and what was found of the run."""
    groups, spreads, alike = [], {}, {}
    for code in code_summary.summarise_codes(state, run, SHOWN_GROUPS):
        groups.append(group_card(code, shots, side, pictures_a_row(min(SHOWN_GROUPS, state.config.classes))))
        spreads[code.number], alike[code.number] = code.spread, code.alike
    found = run_findings.diagnose(state, run, spreads, alike)
    return [dataclasses.replace(group, doubts=found.doubts.get(group.number, ())) for group in groups], found


def _side(state: RunState, groups: int) -> int:
    """Pixels of the side of each picture, judged by some of the images."""
    count = len(state.images.images)
    tried = torch.arange(0, count, max(1, count // 24))
    return images.suited_side(code_summary.chosen_images(state.images, tried), most_pictures(groups))


def _with_pictures(
    findings: Sequence[Finding], shots: Shots, groups: Sequence[Group]
) -> list[tuple[Finding, list[Strip]]]:
    """Each finding with the images that show it."""
    made: dict[int | None, Sequence[Picture]] = {group.number: group.generated for group in groups}
    return [
        (finding, [Strip(each.caption, shots(each.images), made.get(each.drawn, ())) for each in finding.shown])
        for finding in findings
    ]


def _alike(state: RunState, run: RunSummary, shots: Shots) -> dict[str, Any]:
    """The images unlike the rest of their group, and those that are there twice."""
    unlike = outliers(run.readings, state.config.classes).index_M.tolist()
    found = near_duplicates(state.images.images, state.config.seed)
    pairs = []
    for pair in found[:SHOWN_PAIRS]:
        first, second = shots([pair.first, pair.second])
        text = "the same pixels" if pair.distance == 0 else f"{pair.distance:.0%} of the usual difference"
        codes = run.codes_N[pair.first], run.codes_N[pair.second]
        apart = "" if codes[0] == codes[1] else f"; in groups {int(codes[0])} and {int(codes[1])}"
        pairs.append(Pair(first, second, f"{text}{apart}"))
    return {
        "outliers": shots(unlike[:SHOWN_OUTLIERS]),
        "outlier_count": len(unlike),
        "duplicates": pairs,
        "duplicate_count": len(found),
    }


def _map(state: RunState, run: RunSummary, originals: Originals, numbers: Sequence[int]) -> dict[str, Any]:
    """The map of images, as a picture, in words, and as what the script is given."""
    found = image_map(run.readings.embeddings_ND, run.codes_N, state.config.seed)
    sheet, picture = map_picture.draw(found, state.images, run.codes_N[found.index_M].tolist(), numbers)
    total, shown = len(run.codes_N), len(found.index_M)
    which = f"All {total:,} images" if shown == total else f"{shown:,} of {total:,} images, drawn by lot,"
    key = f"fastgan {_name(state)} {state.images_seen} {float(run.confidences_N.double().sum()):.6f}"
    return {
        "map": picture,
        "map_text": f"{which} laid out by {found.method} of what Q sees in them: what it finds alike lies together.",
        "data": script_data(run, originals, found, sheet, key),
    }


def _data(state: RunState, run: RunSummary) -> str:
    """How many images of which size, and whether they have labels."""
    size, count = state.config.image_size, len(run.codes_N)
    known = "unlabelled"
    if state.images.labels is not None:
        known = f"{len(run.class_names)} real classes, which training never saw"
    return f"{count:,} images of {size} x {size} pixels, {known}"


def _title(state: RunState, run: RunSummary) -> str:
    used = len(run.sizes_K) - len(run.unused)
    return f"{_name(state)}: {pluralize(used, 'group')} of images"


def _name(state: RunState) -> str:
    """The name of the data set, or of the folder that holds one's own images."""
    folder = state.config.data_dir if state.config.dataset == "folder" else None
    return state.images.name if folder is None else folder.resolve().name or state.images.name


def _summary(state: RunState, run: RunSummary) -> list[str]:
    """How many groups, how large, how sure: a sentence each."""
    count, sizes_K, seen = len(run.sizes_K), run.sizes_K, state.images_seen
    order = sizes_K.argsort(descending=True, stable=True).tolist()
    used = [k for k in order if k not in set(run.unused)]
    first, last = used[0], used[-1]
    planned = run.images_planned
    return [
        f"The {pluralize(len(run.codes_N), 'image')} fall into {pluralize(len(used), 'group')}"
        + (
            ", the number that was asked for."
            if not run.unused
            else f"; {len(run.unused)} of the {count} that were allowed stay empty or nearly so."
        )
        + f" The largest, group {first}, holds {_share(sizes_K[first])} of them"
        + (f"; the smallest, group {last}, {_share(sizes_K[last])}." if len(used) > 1 else ".")
        + _kinds(run, used),
        *trust.in_words(run.trust),
        f"Trained on {seen:,} images" + (" in all." if seen >= planned else f" of the {planned:,} that were planned."),
    ]


def _kinds(run: RunSummary, used: Sequence[int]) -> str:
    """How many kinds are left if groups that Q hardly tells apart are one; empty where there are none."""
    group_K = merged(run.merge, len(run.sizes_K))
    left = len({group_K[k] for k in used})
    return f" Some are hard to tell apart: if these are one, there are {left}." if left < len(used) else ""


def _share(share: Tensor) -> str:
    """25% or, where that would say little, 2.5%."""
    return f"{float(share):.0%}" if share >= 0.095 else f"{float(share):.1%}"


def _in_words(value: Any) -> str:
    """A setting's value as a reader writes it."""
    if value is None or isinstance(value, bool):
        return "left out" if value is None else "yes" if value else "no"
    # In run.json names are escaped already, and the page will do it again.
    return " ".join(map(str, value)) if isinstance(value, list) else unescaped(str(value))


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings by their flag's name, in words."""
    found = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
            for i, each in enumerate(value):
                found += _flat(each, f"{prefix}{name} {i + 1}.")
        else:
            found.append((f"{prefix}{name}".replace("_", "-"), _in_words(value)))
    return found
