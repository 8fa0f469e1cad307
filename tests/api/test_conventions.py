"""scikit-learn's own checks of an estimator: those of any estimator, and those that fit, on rows made into images.

Every check that scikit-learn has for a clusterer that transforms is either run or listed with the reason why not, so
that a new one is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import small_models
from numpy.typing import NDArray
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import validate_data

from fastgan import ElasticInfoGAN

pytestmark = pytest.mark.usefixtures("no_pictures")

SMALL: dict[str, Any] = {
    **small_models.SMALL,
    "epochs": 1,
    "pretrain_epochs": 0,
    "batch_size": 2,
    "network": {"width": 2, "hidden": 8, "embedding": 4},
    "finer_codes": 0,
    "augment": "torchvision",
    "transforms": {"kind": "whole"},
}
# The names of checks, and why each is not run.
NOT_RUN = {
    "check_estimators_pickle": "a fitted model is kept by save or save_pretrained; pickling it is refused",
    "check_clustering": "asks for blobs of 50 rows to be found, which as images of noise in one epoch are not",
    "check_fit2d_1sample": "asks for a message about one sample; ours is of the batch, or of more classes than images",
    "check_array_api_input": "is for estimators that compute in another array library",
}


class OfRows(ElasticInfoGAN):
    """The estimator on a table, checked by `validate_data`: each row, over and over, makes an image of 8x8."""

    def _images(self, table: Any, *, reset: bool = False) -> NDArray[np.float64]:
        if not reset:
            self._check_fitted()
        rows = np.asarray(validate_data(self, table, reset=reset), dtype=np.float64)
        shade = np.linspace(0.5, 1, 8)  # a row of one number is an image with something on it too
        return np.stack([np.resize((1 + np.sin(row)) / 2, (8, 8)) * shade for row in rows])

    def fit(self, images: Any, y: Any = None, **more: Any) -> OfRows:
        super().fit(self._images(images, reset=True), **more)
        return self

    def predict(self, images: Any) -> NDArray[np.int64]:
        return super().predict(self._images(images))

    def predict_proba(self, images: Any) -> NDArray[np.float32]:
        return super().predict_proba(self._images(images))

    def transform(self, images: Any) -> NDArray[np.float32]:
        return super().transform(self._images(images))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = True, False
        return tags


CHECKS = list(estimator_checks_generator(OfRows(2, **SMALL), legacy=True))


def _name(check: Any) -> str:
    return str(getattr(check, "func", check).__name__)


@pytest.mark.parametrize(
    ("estimator", "check"),
    [pair for pair in CHECKS if _name(pair[1]) not in NOT_RUN],
    ids=[_name(check) for _, check in CHECKS if _name(check) not in NOT_RUN],
)
def test_a_check_of_scikit_learn(estimator: OfRows, check: Callable[[OfRows], None]) -> None:
    check(estimator)


def test_what_is_not_run_is_still_a_check() -> None:
    names = {_name(check) for _, check in CHECKS}
    # Older releases have no check of array libraries.
    assert set(NOT_RUN) - {"check_array_api_input"} <= names and len(names - set(NOT_RUN)) > 40


def test_a_table_is_no_input_of_the_estimator_itself() -> None:
    tags = ElasticInfoGAN().__sklearn_tags__().input_tags
    assert tags.three_d_array and not tags.two_d_array
