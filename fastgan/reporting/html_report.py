"""report.html: one page that shows a run, with every picture inside it; python -m fastgan.page RUN writes it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastgan.evaluation import code_summary, judge
from fastgan.evaluation.code_summary import CodeSummary, RunState, RunSummary
from fastgan.evaluation.confusion import CONFUSED, MergeCandidate
from fastgan.evaluation.diagnosis import Finding
from fastgan.evaluation.metrics import UNUSED_SHARE
from fastgan.reporting import images, plots, templating
from fastgan.reporting.images import Picture
from fastgan.reporting.labels import FIGURES, LOSS_NAMES, SHOWN, has_losses
from fastgan.reporting.lettering import ChartNames, chart_names
from fastgan.runs import run_folder
from fastgan.text import unescaped

NAME = run_folder.REPORT
SHOWN_PICTURES = 8  # generated and real ones of each code
SHOWN_CODES = 100  # the most frequent ones, where there are more


@dataclass(frozen=True)
class Code:
    """A code (class) as the page shows it; `stands_for` is its most frequent real class, None where unknown."""

    number: int
    probability: float
    share: float
    confidence: float | None
    stands_for: str | None
    true_share: float | None
    samples: Sequence[Picture]
    real: Sequence[Picture]


@dataclass(frozen=True)
class Page:
    """Everything that the template shows.

    confusion: a code and its images of each real class. numbered: number and name of the classes whose names the chart
    of frequencies could not show.
    """

    title: str
    data: str
    summary: Sequence[str]
    findings: Sequence[Finding]
    hardly_trained: bool
    codes: Sequence[Code]
    codes_left_out: int
    pixelated: bool
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


def write(path: Path, state: RunState) -> None:
    """Write a run's report, atomically. Raises OSError."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(render(collect(state)), encoding="utf-8")
    partial.replace(path)


def render(page: Page) -> str:
    """The page as HTML."""
    return templating.render("report.html.j2", page=page, unused_share=UNUSED_SHARE, confused=CONFUSED)


def collect(state: RunState) -> Page:
    """Have the run measured, and put what the page shows into words and pictures."""
    run = code_summary.summarise_run(state)
    labelled, side = run.counts_KC is not None, _side(state)
    codes, spreads = [], {}
    for code in code_summary.summarise_codes(state, run, SHOWN_CODES):
        codes.append(_code(state, run, code, side))
        spreads[code.number] = code.spread
    counts = [] if run.counts_KC is None else run.counts_KC.tolist()
    stand_for = {code.stands_for for code in codes}
    shown = chart_names(run.class_names if labelled else [])
    evaluated: dict[str, Any] = next((row for row in reversed(state.rows) if "confidence" in row), {})
    return Page(
        title=f"{_name(state)}: classes, their frequencies and generated images",
        data=_data(state, run),
        summary=_summary(state, run),
        findings=code_summary.diagnose(state, run, spreads),
        hardly_trained=run.hardly_trained,
        codes=codes,
        codes_left_out=state.config.classes - len(codes),
        pixelated=side < 64,
        frequencies=_frequencies(codes, shown, labelled=labelled),
        numbered=[(number, name) for number, name in shown.numbered if name in stand_for],
        charts=_charts(state.rows),
        classes=run.class_names if labelled else [],
        confusion=[(code.number, counts[code.number]) for code in codes] if labelled else [],
        figures=_figures(evaluated),
        figures_after=evaluated.get("images_seen", 0),
        withheld=_withheld(evaluated, labelled=labelled),
        effective=run.effective,
        unused=run.unused,
        merge=run.merge,
        prior_kind="learned" if state.config.prior == "learned" else "fixed",
        settings=_flat(state.settings["settings"]),
        environment=_flat(state.settings["environment"]),
    )


def _side(state: RunState) -> int:
    """Pixels of the side of each picture of a code."""
    shown = min(SHOWN_CODES, state.config.classes)
    return images.side(state.images.images.shape, 2 * SHOWN_PICTURES * shown)


def _code(state: RunState, run: RunSummary, code: CodeSummary, side: int) -> Code:
    """A code with pictures of its first samples and of the real images that Q is surest of."""
    about = "" if code.stands_for is None else f", which mostly gets class {code.stands_for}"
    made = [
        Picture(images.png(image, side), f"Generated image {i + 1} of code {code.number}{about}")
        for i, image in enumerate(code.samples_SCHW[:SHOWN_PICTURES])
    ]
    surest, labels = code.surest_N[:SHOWN_PICTURES], state.images.labels
    real = []
    for i, image in zip(surest.tolist(), code_summary.chosen_images(state.images, surest), strict=True):
        text = f"Real image that Q gives code {code.number} with {float(run.confidences_N[i]):.0%}"
        text += "" if labels is None else f", of class {run.class_names[int(labels[i])]}"
        real.append(Picture(images.png(image, side), text))
    return Code(
        number=code.number,
        probability=code.probability,
        share=code.share,
        confidence=code.confidence,
        stands_for=code.stands_for,
        true_share=code.true_share,
        samples=made,
        real=real,
    )


def _data(state: RunState, run: RunSummary) -> str:
    """How many images of which size, and whether they have labels."""
    size, count = state.config.image_size, len(run.codes_N)
    known = "unlabelled"
    if state.images.labels is not None:
        known = f"{len(run.class_names)} real classes, which training never saw"
    return f"{count:,} images of {size} x {size} pixels, {known}"


def _figures(evaluated: dict[str, Any]) -> list[tuple[str, str]]:
    """An evaluation's figures: what each means, and its value."""
    return [
        (meaning.strip(), str(value) if isinstance(value, int) else f"{value:.4f}")
        for key, meaning in SHOWN.items()
        if (value := evaluated.get(key)) is not None
    ]


def _name(state: RunState) -> str:
    """The name of the data set, or of the folder that holds one's own images."""
    folder = state.config.data_dir if state.config.dataset == "folder" else None
    return state.images.name if folder is None else folder.resolve().name or state.images.name


def _summary(state: RunState, run: RunSummary) -> list[str]:
    """How many classes, how frequent, how sure: a sentence each."""
    count, sizes_K, prior_K, seen = len(run.sizes_K), run.sizes_K, run.prior_K, state.images_seen
    order = sizes_K.argsort(descending=True, stable=True).tolist()
    used = [k for k in order if k not in set(run.unused)]
    first, last = used[0], used[-1]
    sure, planned = float(run.confidences_N.mean()), run.images_planned
    return [
        f"The model was given {count} codes and "
        + ("uses them all" if not run.unused else f"uses {len(used)}")
        + f"; its prior amounts to {run.effective:.1f} equally frequent classes.",
        f"The largest cluster of real images is that of code {first} ({float(sizes_K[first]):.1%}; probability "
        f"{float(prior_K[first]):.1%})"
        + (f", the smallest in use that of code {last} ({float(sizes_K[last]):.1%}; " if len(used) > 1 else ".")
        + (f"probability {float(prior_K[last]):.1%})." if len(used) > 1 else ""),
        f"Q, which tells the code of an image, is {sure:.1%} sure on average; {1 / count:.1%} would be a guess.",
        f"Trained on {seen:,} images" + (" in all." if seen >= planned else f" of the {planned:,} that were planned."),
    ]


def _withheld(evaluated: dict[str, Any], *, labelled: bool) -> str:
    """Why an evaluation has no figures of the generated images' classes; empty where it has, or was not made."""
    if not evaluated or evaluated.get("nmi") is not None:
        return ""
    if not labelled:
        return "No NMI, ENT or accuracy: the images have no labels, and without labels nothing is claimed."
    accuracy, required = evaluated.get("judge_accuracy"), evaluated.get("judge_required")
    if accuracy is None or required is None:
        return "No NMI and ENT of generated images: this evaluation had no judge, a classifier of the real classes."
    return f"{judge.withheld(accuracy, required)}."


def _frequencies(codes: Sequence[Code], shown: ChartNames, *, labelled: bool) -> Picture:
    """The prior beside the cluster sizes and, with labels, the true frequencies."""
    bars = {"prior": [code.probability for code in codes], "real images by Q": [code.share for code in codes]}
    if labelled:
        bars["true, of its class"] = [code.true_share or 0.0 for code in codes]
    labels = [
        str(code.number) if code.stands_for is None else shown.label(code.number, code.stands_for) for code in codes
    ]
    text = "Bars by code: probability, share of the real images that Q assigns"
    text += " and true frequency of the class that it stands for" if labelled else ""
    return images.chart(
        lambda theme: plots.prior_chart(bars, labels, theme, shown.families),
        f"{text}. The table below has the figures.",
    )


def _charts(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Picture]]:
    """Losses and figures over images seen; what was never logged is left out."""
    found = []
    logged = [row for row in rows if has_losses(row)]
    if logged:
        last = ", ".join(f"{name} {logged[-1][key]:.3f}" for key, name in LOSS_NAMES.items() if key in logged[-1])
        text = f"Curves of the losses over images seen; at the end: {last}."
        found.append(("Losses", images.chart(lambda theme: plots.losses_chart(logged, theme), text)))
    evaluated = [row for row in rows if row.get("confidence") is not None]
    if evaluated:
        figures = [f"{name} {evaluated[-1][key]:.3f}" for key, name in FIGURES.items() if key in evaluated[-1]]
        last = ", ".join(figures) or f"mean confidence {evaluated[-1]['confidence']:.3f}"
        text = f"Curves of the figures of each evaluation over images seen; at the end: {last}."
        found.append(("Evaluations", images.chart(lambda theme: plots.figures_chart(evaluated, theme), text)))
    return found


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
