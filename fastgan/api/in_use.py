"""A trained model in use: labels, probabilities and embeddings of images, and drawn ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import NotFittedError

from fastgan.api.drawing import as_html, drawn
from fastgan.api.images import as_labels, for_model
from fastgan.api.messages import python_errors
from fastgan.api.settings import as_setting
from fastgan.evaluation import metrics
from fastgan.inference import labelling
from fastgan.inference.trained_run import TrainedModel
from fastgan.runtime import signals


class InUse:
    """The part of an estimator that needs a trained model and nothing else."""

    _model: TrainedModel
    class_prior_: NDArray[np.float64]

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("this ElasticInfoGAN is not fitted yet; call fit, or load or from_pretrained")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def _pixels(self, images: Any) -> torch.Tensor:
        """Any images as the networks take them, uint8 [N, C, S, S]."""
        self._check_fitted()
        signals.on_own_stack()
        return for_model(self._model, images)

    def _read_by_q(self, images: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Q's embeddings [N, D] and code logits [N, K] of any images."""
        pixels = self._pixels(images)
        return labelling.read(self._model.networks, pixels, self._model.config, self._model.device)

    @python_errors()
    def predict(self, images: Any) -> NDArray[np.int64]:
        """The class of each image, int64 [N]; images as in `fit`."""
        pixels = self._pixels(images)
        return labelling.assign(self._model.networks, pixels, self._model.config, self._model.device)[0].numpy()

    @python_errors()
    def predict_proba(self, images: Any) -> NDArray[np.float32]:
        """Q's probability of each class, float32 [N, K]; images as in `fit`."""
        return self._read_by_q(images)[1].softmax(1).cpu().numpy()

    @python_errors()
    def transform(self, images: Any) -> NDArray[np.float32]:
        """Q's embedding of each image, float32 [N, D]; images as in `fit`."""
        return self._read_by_q(images)[0].cpu().numpy()

    @python_errors()
    def score(self, images: Any, y: ArrayLike) -> float:
        """The share of images whose class is theirs, classes and labels matched one to one."""
        codes = self.predict(images)
        _, labels = np.unique(as_labels(y, len(codes)), return_inverse=True)
        found = metrics.clustering(
            torch.from_numpy(codes), torch.from_numpy(labels), self._model.config.classes, int(labels.max()) + 1
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
        numbers = {"count": count, "random_state": random_state} | ({} if code is None else {"code": code})
        count, random_state, *rest = (as_setting(name, value, int) for name, value in numbers.items())
        classes = self._model.config.classes
        for name, value, least in (("count", count, 1), ("random_state", random_state, 0)):
            if value < least:
                raise ValueError(f"{name} {value}: must be at least {least}")
        if rest and not 0 <= rest[0] < classes:
            raise ValueError(f"code {rest[0]}: this model has codes 0 to {classes - 1}")
        prior = self.class_prior_ / self.class_prior_.sum()
        chosen = np.random.default_rng(random_state).choice(classes, count, p=prior)
        codes = torch.full((count,), rest[0]) if rest else torch.from_numpy(chosen)
        return drawn(self._model, codes, random_state)

    def _repr_html_(self) -> str:
        """For a notebook: a row of samples for each class, the most frequent first."""
        return as_html(self._model, self.class_prior_) if self.__sklearn_is_fitted__() else f"<pre>{self!r}</pre>"
