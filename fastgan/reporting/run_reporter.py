"""Evaluates a run in training, and shows what was measured: rows, lines, pictures, the page."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch
from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import metrics
from fastgan.evaluation.code_summary import RunState
from fastgan.evaluation.evaluator import Evaluation, Evaluator, context_rows
from fastgan.evaluation.judge import obtain_judge
from fastgan.inference.sampling import Sampler
from fastgan.models.elastic_infogan import ElasticInfoGAN
from fastgan.reporting import html_report, labels, plots
from fastgan.reporting.images import row_labels, save_grid
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runs.run_folder import RunFolder
from fastgan.runtime import stages
from fastgan.text import shell_quoted

GRID_COLUMNS = 10
PAGE_SHARE = 0.05  # of the time trained, that pages of an unfinished run may take together, after the first one


class RunReporter:
    """Reports one run: evaluates it and draws its pictures. The training loop calls it, on the main rank only.

    Args:
        images: the training set, on the device or streamed to it; its labels serve evaluation only.
        pictures: draw grids and curves at each evaluation, and write report.html at the last; before it too, at the
            first evaluation and then as often as PAGE_SHARE lets it.
        context: add the rows of k-means to the last evaluation.
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder,
        images: ImageSet,
        model: ElasticInfoGAN,
        device: torch.device,
        *,
        pictures: bool = True,
        context: bool = True,
    ) -> None:
        self.config, self.run, self.images, self.model, self.device = config, run, images, model, device
        self.pictures, self.context = pictures, context
        self.last: Evaluation | None = None  # the newest evaluation
        self._evaluator: Evaluator | None = None
        self._page_seconds: list[float] = []  # that each page of the unfinished run took

    def prepare(self) -> None:
        """Have the judge, which may be trained for minutes, before training begins."""
        self._ready()

    def _ready(self) -> Evaluator:
        if self._evaluator is None:
            judge = obtain_judge(self.config, self.images, self.device)
            self._evaluator = Evaluator(self.images, judge, self.config, self.device)
        return self._evaluator

    def evaluate(self, log: MetricsLog, images_seen: int, epoch: int, seconds: float, *, final: bool) -> None:
        """Measure, log, and draw the sample grid; at the end also the curves and the context rows.

        Args:
            seconds: trained so far.
        """
        evaluator, probabilities = self._ready(), self.model.prior.probabilities()
        found = evaluator(self.model.networks, self.model.sampling_generator, probabilities)
        row: dict[str, Any] = {"images_seen": images_seen, "epoch": epoch, **found.row}
        if final and self.context and self.images.labels is not None:
            row |= context_rows(self.images, self.config.classes)
        row["train_seconds"] = seconds
        log.append(row)
        self.last = dataclasses.replace(found, row=row)
        if self.pictures:
            self._draw(self.last, probabilities.cpu(), log)
        shown = {key: name for key, name in labels.FIGURES.items() if key in row} or labels.FIGURES_WITHOUT_LABELS
        figures = ", ".join(f"{name} {row[key]:.3f}" for key, name in shown.items())
        stages.say(f"epoch {epoch} of {self.config.epochs}: {figures}")
        if self.pictures and not final and self._page_fits(seconds):
            begin = time.perf_counter()
            place = f"epoch {epoch:,} of {self.config.epochs:,}"
            self._write_page(log, images_seen, f"Written in training, at {place}; it loads itself again each minute.")
            self._page_seconds.append(time.perf_counter() - begin)

    def _page_fits(self, seconds: float) -> bool:
        """Whether another page keeps to its share of the `seconds` trained; the first one is always written."""
        taken = self._page_seconds
        return not taken or sum(taken) + taken[-1] <= PAGE_SHARE * seconds

    def _draw(self, found: Evaluation, prior_K: Tensor, log: MetricsLog) -> None:
        """The pictures of one evaluation, and prior.json."""
        codes = torch.arange(self.config.classes).repeat_interleave(GRID_COLUMNS)
        images = Sampler(self.model.sampling_generator, self.config, self.device, "samples")(codes)
        rows = row_labels(range(self.config.classes), prior_K.tolist())
        save_grid(images, self.run.samples / f"epoch-{found.row['epoch']:04d}.png", GRID_COLUMNS, rows)
        # Codes and classes are matched where a judge counted them, and compared where the classes are known.
        frequencies, true_K, matched = self.images.class_frequencies(), None, None
        if found.counts_KC is not None:
            matched = metrics.match_codes(found.counts_KC)
            if frequencies is not None:
                true_K = frequencies[matched]
            names = self.images.class_names
            plots.plot_confusion(found.counts_KC, matched, self.run.path / "confusion.png", names)
        plots.plot_prior(prior_K, found.sizes_K, true_K, self.run.path / "prior.png")
        plots.plot_losses(log.rows(), self.run.path / "losses.png", self.config.classes)
        self.run.write_prior(
            {
                "images_seen": found.row["images_seen"],
                "probabilities": prior_K.tolist(),
                "cluster_sizes": found.sizes_K.tolist(),
                "matched_class": None if matched is None else matched.tolist(),
                "true_frequencies_by_class": None if frequencies is None else frequencies.tolist(),
            }
        )

    def figures(self, images_seen: int) -> dict[str, Any]:
        """The row of the evaluation after so many images; empty if none was made then."""
        row = {} if self.last is None else self.last.row
        return dict(row) if row.get("images_seen") == images_seen else {}

    def write_page(self, log: MetricsLog, images_seen: int) -> None:
        """report.html of a run that is trained."""
        if self.last is not None:
            self._write_page(log, images_seen)

    def _write_page(self, log: MetricsLog, images_seen: int, unfinished: str = "") -> None:
        """A page that cannot be written is no reason to lose a run: it costs a line."""
        try:
            state = RunState(
                config=self.config,
                networks=self.model.networks,
                generator=self.model.sampling_generator,
                prior_K=self.model.prior.probabilities(),
                images=self.images,
                images_seen=images_seen,
                rows=log.rows(),
                settings=run_folder.read_settings(self.run.path),
                device=self.device,
            )
            html_report.write(self.run.path / html_report.NAME, state, unfinished)
        except Exception as error:  # noqa: BLE001 - any failure
            message = " ".join(f"{type(error).__name__}: {error}".split())
            again = f"python -m fastgan.page {shell_quoted(self.run.path)} tries again"
            stages.say(f"warning: {html_report.NAME} was not written ({message}); {again}")
