"""ElasticInfoGAN as an estimator in scikit-learn's conventions, over the same run folders as the commands."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from fastgan import page, train
from fastgan.api.images import as_arrays, for_run, in_memory
from fastgan.api.kept_images import DATA, kept
from fastgan.api.settings import config_of, resumed
from fastgan.config.schema import TrainConfig
from fastgan.data import arrays, loading
from fastgan.data.image_set import ImageSet
from fastgan.evaluation import metrics
from fastgan.inference import labelling, trained_run
from fastgan.inference.sampling import Sampler
from fastgan.reporting.images import save_grid
from fastgan.runs import run_folder
from fastgan.runs.metrics_log import MetricsLog
from fastgan.runs.ownership import LOCK
from fastgan.runtime import threads as thread_count
from fastgan.runtime.device import choose_device, choose_kernels
from fastgan.runtime.distributed import RankInfo, init_distributed
from fastgan.runtime.process import tune_malloc

SHOWN = 10  # samples of each class that a notebook shows
# Parameters that are no settings of a run.
OURS = {"recipe", "preset", "run_dir", "threads", "verbose"}


class ElasticInfoGAN(ClusterMixin, TransformerMixin, BaseEstimator):
    """Learn the classes of unlabelled images and how frequent each is, label images, and draw more of each class.

    Parameters are settings of `python -m fastgan.train`, whose `--help` describes each; None leaves the default of
    `preset`. The same settings, images and number of threads give the same weights as the command, bit for bit.

    Args:
        n_classes: K, the number of codes.
        random_state: seed of the initial weights and of every random draw.
        preset: whose defaults to take: npz for images of any kind, or digits, mnist, fashion-mnist.
        recipe: default, or paper for the article's.
        image_size: side of the images that it trains on, pixels. None: the images' own, at most 64.
        channels: 1 grey, 3 RGB. None: as the images have.
        epochs: passes over the images. None: enough to show 320,000 images, and at least 20.
        network, transforms, grouping: dictionaries of the nested settings, such as {"width": 32, "hidden": 512}.
        run_dir: the run's folder, which must not hold a run. None: a temporary one, gone with this object.
        device: auto, cpu or cuda.
        threads: of a CPU. 0: one for each processor that is free.
        verbose: print what the command prints.
        others: see `python -m fastgan.train --help`.

    Attributes:
        class_prior_: float64 [K], the learned frequencies.
        labels_: int64 [N], the class of each image that it was trained on.
        history_: the rows of metrics.jsonl, a dictionary each.
        run_dir_: the run's folder.
        n_iter_: passes over the images.

    Raises:
        ValueError: from `fit`, for settings or images that cannot be used; the message names them.
    """

    def __init__(
        self,
        n_classes: int = 10,
        *,
        random_state: int | None = None,
        preset: Literal["npz", "digits", "mnist", "fashion-mnist"] = "npz",
        recipe: Literal["default", "paper"] = "default",
        image_size: int | None = None,
        channels: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        prior: Literal["learned", "uniform", "true"] | None = None,
        contrastive_weight: float | None = None,
        temperature: float | None = None,
        contrastive_temperature: float | None = None,
        agreement_weight: float | None = None,
        finer_codes: int | None = None,
        front_end_learns: bool | None = None,
        real_averages: bool | None = None,
        prior_pull: float | None = None,
        prior_learning_rate: float | None = None,
        pretrain_epochs: int | None = None,
        pretrain_learning_rate: float | None = None,
        learning_rate: float | None = None,
        discriminator_learning_rate: float | None = None,
        final_rate: float | None = None,
        average_decay: float | None = None,
        network: Mapping[str, Any] | None = None,
        transforms: Mapping[str, Any] | None = None,
        grouping: Mapping[str, Any] | None = None,
        amp: bool | None = None,
        amp_dtype: Literal["auto", "bfloat16", "float16"] | None = None,
        compile: bool | None = None,
        kernels: Literal["auto", "triton", "reference"] | None = None,
        augment: Literal["auto", "dali", "torchvision"] | None = None,
        capture: bool | None = None,
        deterministic: bool | None = None,
        device: Literal["auto", "cpu", "cuda"] | None = None,
        threads: int = 0,
        eval_every: int | None = None,
        save_every: int | None = None,
        save_share: float | None = None,
        log_every: int | None = None,
        ground: str | None = None,
        intensity_range: Literal["auto", "type"] | tuple[float, float] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        verbose: bool = True,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def fit(self, images: Any, y: ArrayLike | None = None, *, resume: bool = False) -> ElasticInfoGAN:
        """Train on images, and label them.

        Args:
            images: uint8, bool or float array or tensor [N, H, W], [N, H, W, C] or [N, C, H, W]; a data set of images
                (`api/images.py`); or a folder's path.
            y: labels [N], integers or words, used for evaluation only.
            resume: go on with the run in `run_dir`, which was stopped or is to have more `epochs`, on the same images.

        Raises:
            ValueError: for settings or images that cannot be used.
            KeyboardInterrupt: after Ctrl-C; what was trained is saved in `run_dir_`.
        """
        if resume and self.run_dir is None:
            raise ValueError("resume: needs run_dir, the folder of the run")
        if self.run_dir is None:
            scratch = tempfile.mkdtemp(prefix="fastgan-")
            weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
            place = Path(scratch) / "run"
        else:
            place = Path(self.run_dir)
        with self._quiet(), thread_count.restored(), init_distributed(RankInfo.from_environment()) as comm:
            device = choose_device(self.device or "auto")
            thread_count.choose(self.threads)
            choose_kernels(self.kernels or "auto")
            config, pixels, labels = self._settings(images, y, place)
            if resume:
                config = resumed(config, run_folder.saved_config(place))
            tune_malloc()
            with contextlib.ExitStack() as held:
                run_folder.take(config, held)
                given = kept(config, place, pixels, labels, held)
                comm.begin(device, config.rank_timeout)
                code = train.train(config, device, given, comm, place)
            if code:
                self.run_dir_ = place
                raise KeyboardInterrupt(f"stopped and saved in {place}; go on with fit(images, resume=True)")
            return self._read(place, given)

    def _settings(
        self, images: Any, y: ArrayLike | None, place: Path
    ) -> tuple[TrainConfig, ImageSet | None, NDArray[Any] | None]:
        """The settings of a run on these images; and, but for a folder, the images as it takes them and labels [N]."""
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in OURS}
        parameters["random_state"] = 0 if self.random_state is None else self.random_state
        if parameters["cache_dir"] is not None:
            parameters["cache_dir"] = Path(parameters["cache_dir"])
        own: dict[str, Any] = {"run_dir": place, "imbalance": "none", "threads": self.threads}
        if isinstance(images, (str, os.PathLike)):
            if y is not None:
                raise ValueError("y: is for arrays; the labels of a folder are the names of its subfolders")
            base = "folder" if self.preset == "npz" else self.preset
            return config_of(parameters, self.recipe, base, dataset="folder", data_dir=Path(images), **own), None, None
        found, labels = as_arrays(images)
        side, channels = arrays.suited_form(found)
        parameters["image_size"] = self.image_size or side
        parameters["channels"] = self.channels or channels
        config = config_of(parameters, self.recipe, self.preset, dataset="npz", data_dir=place / DATA, **own)
        return config, in_memory(found, config), labels if y is None else np.asarray(y)

    def _read(self, place: Path, given: ImageSet | None = None) -> ElasticInfoGAN:
        """Take what a run has learned; `given` are its images."""
        self._run = trained_run.load(place, choose_device(self.device or "auto"))
        config, self.run_dir_ = self._run.config, place
        self.class_prior_ = self._run.prior.probabilities().detach().cpu().double().numpy()
        self.history_ = MetricsLog(self._run.run.metrics).rows()
        self.n_iter_ = config.epochs
        images = loading.load(self._config()) if given is None else given
        self.labels_ = labelling.assign(self._run.networks, images.images, config, self._run.device)[0].numpy()
        return self

    def _config(self) -> TrainConfig:
        """The run's settings, its images where they are now."""
        config = self._run.config
        moved = config.dataset == "npz" and (self.run_dir_ / DATA).exists()
        return dataclasses.replace(config, data_dir=self.run_dir_ / DATA) if moved else config

    def _check_fitted(self) -> None:
        if not hasattr(self, "_run"):
            raise NotFittedError("this ElasticInfoGAN is not fitted yet; call fit, or ElasticInfoGAN.load")

    def _pixels(self, images: Any) -> torch.Tensor:
        """Any images as the networks take them, uint8 [N, C, S, S]."""
        self._check_fitted()
        return for_run(self._run, images)

    def _read_by_q(self, images: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Q's embeddings [N, D] and code logits [N, K] of any images."""
        pixels = self._pixels(images)
        return labelling.read(self._run.networks, pixels, self._run.config, self._run.device)

    def predict(self, images: Any) -> NDArray[np.int64]:
        """The class of each image, int64 [N]; images as in `fit`."""
        pixels = self._pixels(images)
        return labelling.assign(self._run.networks, pixels, self._run.config, self._run.device)[0].numpy()

    def predict_proba(self, images: Any) -> NDArray[np.float32]:
        """Q's probability of each class, float32 [N, K]; images as in `fit`."""
        return self._read_by_q(images)[1].softmax(1).cpu().numpy()

    def transform(self, images: Any) -> NDArray[np.float32]:
        """Q's embedding of each image, float32 [N, D]; images as in `fit`."""
        return self._read_by_q(images)[0].cpu().numpy()

    def score(self, images: Any, y: ArrayLike) -> float:
        """The share of images whose class is theirs, classes and labels matched one to one."""
        codes, (_, labels) = self.predict(images), np.unique(np.asarray(y), return_inverse=True)
        if len(codes) != len(labels):
            raise ValueError(f"y: {len(labels)} labels of {len(codes)} images")
        found = metrics.clustering(
            torch.from_numpy(codes), torch.from_numpy(labels), self._run.config.classes, int(labels.max()) + 1
        )
        return found["accuracy"]

    def sample(self, count: int = 1, code: int | None = None, random_state: int = 0) -> NDArray[np.uint8]:
        """Draw images: of one class, or of classes drawn from the learned prior.

        Returns:
            uint8 [count, S, S] grey, or [count, S, S, 3] RGB.

        Raises:
            ValueError: for a code that is none of K.
        """
        self._check_fitted()
        classes = self._run.config.classes
        if count < 1:
            raise ValueError(f"count {count}: must be at least 1")
        if code is not None and not 0 <= code < classes:
            raise ValueError(f"code {code}: this model has codes 0 to {classes - 1}")
        drawn = np.random.default_rng(random_state).choice(
            classes, count, p=self.class_prior_ / self.class_prior_.sum()
        )
        codes = torch.from_numpy(drawn) if code is None else torch.full((count,), code)
        config = dataclasses.replace(self._run.config, seed=random_state)
        images = Sampler(self._run.generator, config, self._run.device, "sample-command")(codes)
        pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return pixels[..., 0] if pixels.shape[-1] == 1 else pixels

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Copy the run's folder, its images included, to a new place.

        Args:
            force: replace another run that is there.

        Raises:
            ValueError: something is there already, and is no run or not to be replaced.
        """
        self._check_fitted()
        out = Path(path)
        if out.exists() and not (force and (out / "run.json").exists() and not out.samefile(self.run_dir_)):
            raise ValueError(f"{out}: is there already; name another folder, or replace a run with force=True")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self.run_dir_, out, ignore=shutil.ignore_patterns(LOCK))
        if (out / DATA).exists():
            run_folder.move_data(out, out / DATA)
        return out

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Literal["auto", "cpu", "cuda"] = "auto") -> ElasticInfoGAN:
        """The model of a run folder, whether an estimator or a command has trained it.

        Raises:
            ValueError: for a folder that holds no run, or images that have moved.
        """
        place = Path(path)
        config = run_folder.saved_config(place)
        model = cls(config.classes, random_state=config.seed, device=device)
        return model._read(place)

    def report(self) -> Path:
        """The path of report.html, written again from the newest checkpoint."""
        self._check_fitted()
        argv = [str(self.run_dir_)]
        if (self.run_dir_ / DATA).exists():
            argv += ["--data-dir", str(self.run_dir_ / DATA)]
        with self._quiet(), thread_count.restored():
            page.main(argv)
        return self.run_dir_ / "report.html"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags

    def __getstate__(self) -> Any:
        if hasattr(self, "_run"):
            raise TypeError("a fitted ElasticInfoGAN is kept by save(path) and read by ElasticInfoGAN.load(path)")
        return super().__getstate__()

    def _repr_html_(self) -> str:
        """For a notebook: a row of samples for each class, the most frequent first."""
        if not hasattr(self, "_run"):
            return f"<pre>{self!r}</pre>"
        order = np.argsort(-self.class_prior_)
        codes = torch.from_numpy(order).repeat_interleave(SHOWN)
        images = Sampler(self._run.generator, self._run.config, self._run.device, "samples")(codes)
        file = io.BytesIO()
        save_grid(images, file, SHOWN)
        picture = base64.b64encode(file.getvalue()).decode("ascii")
        shares = ", ".join(f"{code}: {self.class_prior_[code]:.1%}" for code in order)
        return f'<img src="data:image/png;base64,{picture}" alt="samples of each class"/><div>{shares}</div>'

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Within, nothing is printed unless `verbose`; an error of a run is raised as it is."""
        with contextlib.ExitStack() as stack:
            if not self.verbose:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield
