"""report.html: one page that shows a run, with every picture inside it; python -m fastgan.page RUN writes it anew.

Legend: N images, K codes, C real classes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import torch
from markupsafe import Markup, escape
from torch import Tensor

from fastgan.config import schedule
from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import diagnosis, judge, metrics
from fastgan.evaluation.confusion import MergeCandidate, confused_codes
from fastgan.inference.labelling import read
from fastgan.inference.sampling import Sampler
from fastgan.models.networks import Generator, Networks
from fastgan.reporting import images, plots
from fastgan.reporting.images import Picture
from fastgan.reporting.labels import FIGURES, LOSS_NAMES, SHOWN
from fastgan.runs import run_folder

NAME = "report.html"
SHOWN_PICTURES = 8  # generated and real ones of each code
SHOWN_CODES = 100  # the most frequent ones, where there are more
DRAWN = 32  # samples of each code whose mean pairwise distance is taken
COMPARED = 200  # real images of each code, at most, that it is compared with


@dataclass(frozen=True)
class RunState:
    """What a page is made from: networks as they are, and the real images with which they are looked at.

    prior_K: probabilities; rows: those of metrics.jsonl; settings: run.json as read.
    """

    config: TrainConfig
    networks: Networks
    generator: Generator
    prior_K: Tensor
    images: ImageSet
    images_seen: int
    rows: Sequence[dict[str, Any]]
    settings: dict[str, Any]
    device: torch.device


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
    """All that the template is given. `confusion`: real class's names, and a row of counts a code."""

    title: str
    data: str
    summary: Sequence[str]
    findings: Sequence[diagnosis.Finding]
    hardly_trained: bool
    codes: Sequence[Code]
    codes_left_out: int
    pixelated: bool
    frequencies: Picture
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


def write(folder: Path, state: RunState) -> Path:
    """Write report.html into a run's folder, replaced in one go, and return its path. Raises OSError."""
    path, partial = folder / NAME, folder / f".{NAME}"
    partial.write_text(render(collect(state)), encoding="utf-8")
    partial.replace(path)
    return path


def render(page: Page) -> str:
    """The page as HTML. Everything in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["flags"] = _flags
    return environment.get_template("report.html.j2").render(page=page, advice=diagnosis)


def _flags(text: str) -> Markup:
    """A sentence, escaped, in which no line ends within a flag."""
    return Markup(re.sub(r"(--[a-z][a-z.-]*[a-z])", r"<code>\1</code>", str(escape(text))))


def collect(state: RunState) -> Page:
    """Ask the networks, and gather what the page shows."""
    config, labels = state.config, state.images.labels
    prior_K = state.prior_K.detach().cpu().double()
    _, logits = read(state.networks, state.images.images, config, state.device)
    probabilities_NK = logits.softmax(1).cpu()
    confidences_N, codes_N = probabilities_NK.max(1)
    sizes_K = metrics.cluster_sizes(codes_N, config.classes)
    planned = schedule.total_images(config, len(codes_N), run_folder.ranks_of(state.settings))
    hardly = diagnosis.hardly_trained(prior_K, sizes_K, state.images_seen, planned) is not None
    merge = [] if hardly else confused_codes(state.networks, state.images.images, codes_N, config, state.device)
    names = state.images.class_names or [str(c) for c in range(state.images.label_count)]
    counts_KC = None
    if labels is not None:
        counts_KC = metrics.count_matrix(codes_N, labels, config.classes, len(names))

    shown = sorted(torch.argsort(sizes_K, descending=True, stable=True)[:SHOWN_CODES].tolist())
    side = images.side(state.images.images.shape, 2 * SHOWN_PICTURES * len(shown))
    codes, spreads = [], [math.nan] * config.classes
    drawn = Sampler(state.generator, config, state.device, "page")
    for k in shown:
        own = torch.nonzero(codes_N == k).flatten()
        surest = own[confidences_N[own].argsort(descending=True, stable=True)]
        samples = drawn(torch.full((DRAWN,), k), offset=k)
        spreads[k] = images.spread(samples, images.floats(state.images.images, own[:COMPARED]))
        stands_for, true_share = None, None
        if counts_KC is not None and len(own):
            label = int(counts_KC[k].argmax())
            stands_for, true_share = names[label], float(counts_KC[:, label].sum() / len(codes_N))
        about = "" if stands_for is None else f", which mostly gets class {stands_for}"
        real = [
            Picture(
                images.png(image, side),
                f"Real image that Q gives code {k} with {float(confidences_N[i]):.0%}"
                + ("" if labels is None else f", of class {names[int(labels[i])]}"),
            )
            for i, image in zip(
                surest[:SHOWN_PICTURES].tolist(),
                images.floats(state.images.images, surest[:SHOWN_PICTURES]),
                strict=True,
            )
        ]
        made = [
            Picture(images.png(image, side), f"Generated image {i + 1} of code {k}{about}")
            for i, image in enumerate(samples[:SHOWN_PICTURES])
        ]
        confidence = float(confidences_N[own].mean()) if len(own) else None
        codes.append(Code(k, float(prior_K[k]), float(sizes_K[k]), confidence, stands_for, true_share, made, real))

    evaluated: dict[str, Any] = next((row for row in reversed(state.rows) if "confidence" in row), {})
    facts = diagnosis.Facts(
        prior_K=prior_K,
        sizes_K=sizes_K,
        prior_is_learned=config.prior == "learned",
        images_seen=state.images_seen,
        images_planned=planned,
        merge=merge,
        last_d_loss=diagnosis.last_mean(state.rows, "d_loss"),
        spreads_K=spreads,
    )
    effective = metrics.effective_classes(prior_K)
    return Page(
        title=f"{_name(state)}: classes, their frequencies and generated images",
        data=f"{len(codes_N):,} images of {config.image_size} x {config.image_size} pixels, "
        + ("unlabelled" if labels is None else f"{len(names)} real classes, which training never saw"),
        summary=_summary(prior_K, sizes_K, float(confidences_N.mean()), effective, state.images_seen, planned),
        findings=diagnosis.findings(facts),
        hardly_trained=hardly,
        codes=codes,
        codes_left_out=config.classes - len(shown),
        pixelated=side < 64,
        frequencies=_frequencies(codes, labelled=labels is not None),
        charts=_charts(state.rows),
        classes=names if counts_KC is not None else [],
        confusion=[(k, counts_KC[k].tolist()) for k in shown] if counts_KC is not None else [],
        figures=[
            (meaning.strip(), str(value) if isinstance(value, int) else f"{value:.4f}")
            for key, meaning in SHOWN.items()
            if (value := evaluated.get(key)) is not None
        ],
        figures_after=evaluated.get("images_seen", 0),
        withheld=_withheld(evaluated, labelled=labels is not None),
        effective=effective,
        unused=metrics.unused_codes(sizes_K),
        merge=merge,
        prior_kind="learned" if config.prior == "learned" else "fixed",
        settings=_flat(state.settings["settings"]),
        environment=_flat(state.settings["environment"]),
    )


def _name(state: RunState) -> str:
    """Of one's own folder its name, of other data sets theirs."""
    folder = state.config.data_dir if state.config.dataset == "folder" else None
    return state.images.name if folder is None else folder.resolve().name or state.images.name


def _summary(
    prior_K: Tensor, sizes_K: Tensor, confidence: float, effective: float, seen: int, planned: int
) -> list[str]:
    """How many classes, how frequent, how sure: a sentence each."""
    count, unused = len(sizes_K), metrics.unused_codes(sizes_K)
    order = sizes_K.argsort(descending=True, stable=True).tolist()
    used = [k for k in order if k not in set(unused)]
    first, last = used[0], used[-1]
    sentences = [
        f"The model was given {count} codes and "
        + ("uses them all" if not unused else f"uses {len(used)}")
        + f"; its prior amounts to {effective:.1f} equally frequent classes.",
        f"The largest cluster of real images is that of code {first} ({float(sizes_K[first]):.1%}; probability "
        f"{float(prior_K[first]):.1%})"
        + (f", the smallest in use that of code {last} ({float(sizes_K[last]):.1%}; " if len(used) > 1 else ".")
        + (f"probability {float(prior_K[last]):.1%})." if len(used) > 1 else ""),
        f"Q, which tells the code of an image, is {confidence:.1%} sure on average; {1 / count:.1%} would be a guess.",
        f"Trained on {seen:,} images" + (" in all." if seen >= planned else f" of the {planned:,} that were planned."),
    ]
    return sentences


def _withheld(evaluated: dict[str, Any], *, labelled: bool) -> str:
    """Why an evaluation says nothing of the generated images' classes; empty where it does, or where there was none."""
    if not evaluated or evaluated.get("nmi") is not None:
        return ""
    if not labelled:
        return "No NMI, ENT or accuracy: the images have no labels, and without labels nothing is claimed."
    accuracy, required = evaluated.get("judge_accuracy"), evaluated.get("judge_required")
    if accuracy is None or required is None:
        return "No NMI and ENT of generated images: this evaluation had no judge, a classifier of the real classes."
    return f"{judge.withheld(accuracy, required)}."


def _frequencies(codes: Sequence[Code], *, labelled: bool) -> Picture:
    bars = {"prior": [code.probability for code in codes], "real images by Q": [code.share for code in codes]}
    if labelled:
        bars["true, of its class"] = [code.true_share or 0.0 for code in codes]
    labels = [
        str(code.number) if code.stands_for is None else f"{code.number}: {code.stands_for:.12}" for code in codes
    ]
    said = "Bars by code: probability, share of the real images that Q assigns"
    said += " and true frequency of the class that it stands for" if labelled else ""
    return images.chart(
        lambda theme: plots.prior_chart(bars, labels, theme), f"{said}. The table below has the figures."
    )


def _charts(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Picture]]:
    """Losses and figures over images seen; what was never logged is left out."""
    found = []
    logged = [row for row in rows if row.get("d_loss") is not None]
    if logged:
        last = ", ".join(f"{name} {logged[-1][key]:.3f}" for key, name in LOSS_NAMES.items())
        text = f"Curves of the losses over images seen; at the end: {last}."
        found.append(("Losses", images.chart(lambda theme: plots.losses_chart(logged, theme), text)))
    evaluated = [row for row in rows if row.get("confidence") is not None]
    if evaluated:
        figures = [f"{name} {evaluated[-1][key]:.3f}" for key, name in FIGURES.items() if key in evaluated[-1]]
        last = ", ".join(figures) or f"mean confidence {evaluated[-1]['confidence']:.3f}"
        text = f"Curves of the figures of each evaluation over images seen; at the end: {last}."
        found.append(("Evaluations", images.chart(lambda theme: plots.figures_chart(evaluated, theme), text)))
    return found


def _said(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "left out" if value is None else "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


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
            said = _said(value)
            found.append((f"{prefix}{name}".replace("_", "-"), said))
    return found
