"""ElasticInfoGAN as an estimator in scikit-learn's conventions, over the same run folders as the commands."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin

from fastgan import page
from fastgan.api.callbacks import Callbacks
from fastgan.api.images import as_arrays, as_labels, in_memory
from fastgan.api.kept_images import DATA, kept
from fastgan.api.messages import python_errors, python_lines
from fastgan.api.parameters import documented
from fastgan.api.portable import Portable
from fastgan.api.settings import as_setting, check_base, config_of, resumed
from fastgan.config.schema import Dataset, TrainConfig
from fastgan.data import arrays, loading, remarks
from fastgan.data.image_set import ImageSet
from fastgan.inference import labelling, trained_run
from fastgan.inference.trained_run import TrainedModel, TrainedRun
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runs.ownership import LOCK
from fastgan.runtime import outputs
from fastgan.runtime import threads as thread_count
from fastgan.runtime.device import choose_device, choose_kernels
from fastgan.runtime.distributed import init_distributed
from fastgan.runtime.process import tune_malloc
from fastgan.runtime.ranks import RankInfo
from fastgan.tasks import train
from fastgan.tasks.train_lines import Trained, say_figures
from fastgan.text import pluralize

# Parameters that are no settings of a run.
OURS = {"recipe", "preset", "run_dir", "threads", "verbose"}


@documented
class ElasticInfoGAN(Portable, ClusterMixin, TransformerMixin, BaseEstimator):
    """Learn the classes of unlabelled images and how frequent each is, label images, and draw more of each class.

    Parameters are settings of `python -m fastgan.train`; None leaves the default of `preset`. The same settings, images
    and number of threads give the same weights as the command, bit for bit.

    Args:
        n_classes: K, the number of codes.
        random_state: seed of the initial weights and of every random draw.
        preset: whose defaults to take: npz for images of any kind, or those of a data set, such as mnist or cifar10.
        recipe: default, or paper for the article's.
        image_size: side of the images that it trains on, pixels. None: the images' own, at most 64.
        channels: 1 grey, 3 RGB. None: as the images have.
        epochs: passes over the images. None: enough to show 320,000 images, and at least 20.
        network, transforms, grouping: dictionaries of the settings below, such as {"width": 32, "hidden": 512}.
        run_dir: the run's folder, which must not hold a run. None: a temporary one, gone with this object.
        threads: of a CPU. 0: one for each processor that is free.
        verbose: print what the command prints.
    SETTINGS

    Attributes:
        class_prior_: float64 [K], the learned frequencies.
        labels_: int64 [N], the class of each image that it was trained on; not of a model from `from_pretrained`.
        history_: the rows of metrics.jsonl, a dictionary each.
        run_dir_: the run's folder; not of a model from `from_pretrained`.
        n_iter_: passes over the images that are done.

    Raises:
        ValueError: from any method, for settings or images that cannot be used, in one line that names the parameter.
    """

    def __init__(
        self,
        n_classes: int = 10,
        *,
        random_state: int | None = None,
        preset: Dataset = "npz",
        recipe: Literal["default", "paper"] = "default",
        image_size: int | None = None, channels: int | None = None,
        epochs: int | None = None, batch_size: int | None = None,
        prior: Literal["learned", "uniform", "true"] | None = None,
        prior_pull: float | None = None, prior_learning_rate: float | None = None,
        temperature: float | None = None,
        contrastive_weight: float | None = None, contrastive_temperature: float | None = None,
        agreement_weight: float | None = None, finer_codes: int | None = None,
        front_end_learns: bool | None = None, real_averages: bool | None = None,
        pretrain_epochs: int | None = None, pretrain_learning_rate: float | None = None,
        learning_rate: float | None = None, discriminator_learning_rate: float | None = None,
        final_rate: float | None = None, average_decay: float | None = None,
        network: Mapping[str, Any] | None = None,
        transforms: Mapping[str, Any] | None = None,
        grouping: Mapping[str, Any] | None = None,
        amp: bool | None = None, amp_dtype: Literal["auto", "bfloat16", "float16"] | None = None,
        compile: bool | None = None, capture: bool | None = None, deterministic: bool | None = None,
        kernels: Literal["auto", "triton", "reference"] | None = None,
        augment: Literal["auto", "dali", "torchvision"] | None = None,
        device: Literal["auto", "cpu", "cuda"] | None = None,
        threads: int = 0,
        eval_every: int | None = None, save_every: int | None = None, save_share: float | None = None,
        log_every: int | None = None,
        labels_from_folders: bool | None = None, skip_bad: bool | None = None, ground: str | None = None,
        intensity_range: Literal["auto", "type"] | tuple[float, float] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        verbose: bool = True,
    ) -> None:  # fmt: skip
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def fit(
        self, images: Any, y: ArrayLike | None = None, *, resume: bool = False, callbacks: Any = ()
    ) -> ElasticInfoGAN:
        """Train on images, and label them.

        Args:
            images: uint8, bool or float array or tensor [N, H, W], [N, H, W, C] or [N, C, H, W]; a data set of images
                (`api/images.py`); or a folder's path.
            y: labels [N], integers or words, used for evaluation only.
            resume: go on with the run in `run_dir`, else with that of the last fit, which was stopped or is to have
                more `epochs`, on the same images.
            callbacks: objects with `on_epoch_end(epoch, row)` or `on_step_end(images_seen, losses)`, or functions of
                (epoch, row). One that returns True stops the run, which is saved (`api/callbacks.py`).

        Raises:
            ValueError: for settings or images that cannot be used; nothing is written.
            KeyboardInterrupt: after Ctrl-C; what was trained is saved, and read into this object.
        """
        watching = Callbacks(callbacks)
        place, temporary = self._place(resume)
        named = self.run_dir is not None or (resume and not hasattr(self, "_scratch"))
        there = (place / "run.json").exists()
        try:
            with python_errors(), self._lines(), thread_count.restored():
                trained = self._fit(images, y, place, resume, watching, named=named)
        finally:
            begun = (place / "run.json").exists() and (resume or not there)
            if begun:
                self._last = place
            if temporary is not None and begun:
                if before := self.__dict__.pop("_scratch", None):
                    before()  # the run before, which this one replaces
                self._scratch = temporary
            elif temporary is not None:
                temporary()
        if watching.error is not None:
            raise watching.error
        if trained.code:
            where = f" in {place}" if named else ""
            raise KeyboardInterrupt(f"stopped and saved{where}; go on with fit(images, resume=True)")
        return self

    def _place(self, resume: bool) -> tuple[Path, weakref.finalize[Any, Any] | None]:
        """The run's folder, and what removes it if it is a new temporary one."""
        if self.run_dir is not None:
            return as_setting("run_dir", self.run_dir, Path), None
        if resume:
            if not hasattr(self, "_last"):
                raise ValueError("resume: nothing to go on with; call fit first, or give run_dir, the folder of a run")
            return self._last, None
        scratch = tempfile.mkdtemp(prefix="fastgan-")
        return Path(scratch) / "run", weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)

    def _fit(
        self, images: Any, y: ArrayLike | None, place: Path, resume: bool, watching: Callbacks, *, named: bool
    ) -> Trained:
        """Train in the folder `place`, and take what was learned."""
        with init_distributed(RankInfo.from_environment()) as comm:
            config, pixels, labels = self._settings(images, y, place)
            device = choose_device(config.device)
            thread_count.choose(config.threads)
            choose_kernels(config.kernels)
            if resume:
                config = resumed(config, run_folder.saved_config(place))
            tune_malloc()
            with contextlib.ExitStack() as held:
                run_folder.take(config, held)
                given = kept(config, place, pixels, labels, held)
                comm.begin(device, config.rank_timeout)
                observer = watching if watching else None
                trained = train.train(config, device, given, comm, place, observer=observer, named=named)
            self._read(place, given)
            if comm.is_main:
                self._say(trained, named=named)
            return trained

    def _say(self, trained: Trained, *, named: bool) -> None:
        """What came out of a fit, and what to call next."""
        epochs = pluralize(trained.epochs, "epoch")
        if trained.outcome is None:
            print(f"the run is complete after {epochs}; raise epochs above that to train on")
        elif trained.outcome.stopped:
            print(f"stopped by a callback after {epochs}, and saved; fit(images, resume=True) goes on")
        elif trained.evaluation is not None and not trained.code:
            say_figures(trained)
            keeps = (
                f"the run is in {trained.run.path}" if named else "save(path) keeps the run, whose folder is temporary"
            )
            print(f"report() writes a page of its classes, and returns its path; {keeps}")

    def _settings(
        self, images: Any, y: ArrayLike | None, place: Path
    ) -> tuple[TrainConfig, ImageSet | None, NDArray[Any] | None]:
        """The settings of a run on these images; and, but for a folder, the images as it takes them and labels [N]."""
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in OURS}
        parameters["random_state"] = 0 if self.random_state is None else self.random_state
        own: dict[str, Any] = {"run_dir": place, "imbalance": "none"}
        own["threads"] = as_setting("threads", self.threads, int)
        check_base(self.preset, self.recipe)
        if isinstance(images, (str, os.PathLike)):
            if y is not None:
                raise ValueError(
                    "y: is for arrays; of a folder the subfolders can be: leave y out, labels_from_folders=True"
                )
            base = "folder" if self.preset == "npz" else self.preset
            return config_of(parameters, self.recipe, base, dataset="folder", data_dir=Path(images), **own), None, None
        found, labels = as_arrays(images)
        labels = labels if y is None else as_labels(y, len(found))
        if labels is not None and len(np.unique(labels)) == 1:
            if y is not None:
                raise ValueError("y: all labels are the same; give those of two classes or more, or leave y out")
            labels = None  # of a data set with one class, such as one folder's
        side, channels = arrays.suited_form(found)
        parameters["image_size"] = side if self.image_size is None else self.image_size
        parameters["channels"] = channels if self.channels is None else self.channels
        config = config_of(parameters, self.recipe, self.preset, dataset="npz", data_dir=place / DATA, **own)
        given = in_memory(found, config)
        if (nothing := remarks.nothing_to_learn(given, config.ground)) is not None:
            raise ValueError(f"images: {nothing}")
        return config, given, labels

    def _read(self, place: Path, given: ImageSet | None = None) -> None:
        """Take what a run has learned; `given` are its images."""
        run = trained_run.load(place, choose_device(self.device or "auto"))
        self._use(run)
        self.run_dir_ = self._last = place
        self.history_ = MetricsLog(run.run.metrics).rows()
        images = (loading.load(self._config()) if given is None else given).images
        self.labels_ = labelling.assign(run.networks, images, run.config, run.device)[0].numpy()
        batch = run.config.batch_size * run.ranks()
        self.n_iter_ = run.images_seen // (len(images) // batch * batch)

    def _use(self, model: TrainedModel) -> None:
        self._model = model
        self.class_prior_ = model.prior.probabilities().detach().cpu().double().numpy()
        if not isinstance(model, TrainedRun):
            self.history_ = [dict(self._provenance.figures)] if self._provenance.figures else []
            self.n_iter_ = model.config.epochs

    @classmethod
    def _of(cls, model: TrainedModel, device: Literal["auto", "cpu", "cuda"]) -> ElasticInfoGAN:
        """An estimator for a model, its parameters as far as the model has them."""
        config = model.config
        return cls(config.classes, random_state=config.seed, image_size=config.image_size, device=device)

    def _config(self) -> TrainConfig:
        """The run's settings, its images where they are now."""
        config = self._model.config
        moved = config.dataset == "npz" and (self.run_dir_ / DATA).exists()
        return dataclasses.replace(config, data_dir=self.run_dir_ / DATA) if moved else config

    def _check_run(self, method: str) -> None:
        self._check_fitted()
        if not hasattr(self, "run_dir_"):
            raise ValueError(f"{method}: this model came without its run; call it where the model was fitted or loaded")

    @python_errors()
    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Copy the run's folder, its images included, to a new place.

        Args:
            force: replace another run that is there.

        Raises:
            ValueError: something is there already, and is no run or not to be replaced; or the model has no run.
        """
        self._check_run("save")
        out = as_setting("path", path, Path)
        if out.exists() and not (force and (out / "run.json").exists() and not out.samefile(self.run_dir_)):
            raise ValueError(f"path {out}: is there already; name another folder, or replace a run with force=True")
        if out.resolve().is_relative_to(self.run_dir_.resolve()):
            raise ValueError(f"path {out}: lies in the run's own folder, {self.run_dir_}; name one outside")
        try:
            with outputs.replaced_folder(out) as folder:
                shutil.copytree(self.run_dir_, folder, ignore=shutil.ignore_patterns(LOCK), dirs_exist_ok=True)
                if (folder / DATA).exists():
                    run_folder.move_data(folder, out / DATA)
        except OSError as error:
            cause = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or error
            raise ValueError(f"path {out}: cannot be written ({cause}); name a folder that can") from error
        return out

    @classmethod
    @python_errors()
    def load(cls, path: str | os.PathLike[str], device: Literal["auto", "cpu", "cuda"] = "auto") -> ElasticInfoGAN:
        """The model of a run folder, whether an estimator or a command has trained it.

        Raises:
            ValueError: for a folder that holds no run, or images that have moved.
        """
        place = as_setting("path", path, Path)
        config = run_folder.saved_config(place)
        model = cls(config.classes, random_state=config.seed, device=device)
        model._read(place)
        return model

    @python_errors()
    def report(self) -> Path:
        """The path of report.html, written again from the newest checkpoint."""
        self._check_run("report")
        argv = [str(self.run_dir_)]
        if (self.run_dir_ / DATA).exists():
            argv += ["--data-dir", str(self.run_dir_ / DATA)]
        with self._lines(), thread_count.restored():
            page.main(argv)
        return self.run_dir_ / "report.html"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags

    def __getstate__(self) -> Any:
        if self.__sklearn_is_fitted__():
            raise TypeError(
                "a fitted ElasticInfoGAN is kept by save(path) and read by ElasticInfoGAN.load(path); without its run, "
                "by save_pretrained(path) and from_pretrained(path)"
            )
        return super().__getstate__()

    @contextlib.contextmanager
    def _lines(self) -> Iterator[None]:
        """Within, what is printed is in Python's words, and nothing unless `verbose`; errors are raised as they are."""
        with contextlib.ExitStack() as stack:
            if self.verbose:
                stack.enter_context(python_lines())
            else:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield
