"""The report's charts and figures: how frequent the groups are, how training went, and what an evaluation found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastgan.evaluation import judge
from fastgan.reporting import images, plots
from fastgan.reporting.group_cards import Group
from fastgan.reporting.images import Picture
from fastgan.reporting.labels import FIGURES, LOSS_NAMES, SHOWN, figure, has_losses
from fastgan.reporting.lettering import ChartNames


def frequencies(codes: Sequence[Group], shown: ChartNames, *, labelled: bool) -> Picture:
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


def charts(rows: Sequence[dict[str, Any]], classes: int) -> list[tuple[str, Picture]]:
    """Losses and figures over images seen; what was never logged is left out."""
    found = []
    logged = [row for row in rows if has_losses(row)]
    if logged:
        last = ", ".join(f"{name} {logged[-1][key]:.3f}" for key, name in LOSS_NAMES.items() if key in logged[-1])
        text = f"Curves of the losses over images seen; at the end: {last}."
        found.append(("Losses", images.chart(lambda theme: plots.losses_chart(logged, theme, classes), text)))
    evaluated = [row for row in rows if row.get("confidence") is not None]
    if evaluated:
        figures = [f"{name} {evaluated[-1][key]:.3f}" for key, name in FIGURES.items() if key in evaluated[-1]]
        last = ", ".join(figures) or f"mean confidence {evaluated[-1]['confidence']:.3f}"
        text = f"Curves of the figures of each evaluation over images seen; at the end: {last}."
        found.append(("Evaluations", images.chart(lambda theme: plots.figures_chart(evaluated, theme), text)))
    return found


def figures(evaluated: dict[str, Any], clustering: Mapping[str, float]) -> list[tuple[str, str]]:
    """An evaluation's figures: what each means, and its value; those of labels that it did not have come from here."""
    known = {f"cluster_{name}": value for name, value in clustering.items()} | evaluated
    return [(meaning.strip(), figure(value)) for key, meaning in SHOWN.items() if (value := known.get(key)) is not None]


def withheld(evaluated: dict[str, Any], *, labelled: bool) -> str:
    """Why an evaluation has no figures of the generated images' classes; empty where it has, or was not made."""
    if not evaluated or evaluated.get("nmi") is not None:
        return ""
    if not labelled:
        return "No NMI, ENT or accuracy: the images have no labels, and without labels nothing is claimed."
    accuracy, required = evaluated.get("judge_accuracy"), evaluated.get("judge_required")
    if accuracy is None or required is None:
        return "No NMI and ENT of generated images: this evaluation had no judge, a classifier of the real classes."
    return f"{judge.withheld(accuracy, required)}."
