"""Images that an estimator was given, kept in its run's folder: whoever reads the run finds them there."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgan.config.schema import TrainConfig
from fastgan.data import arrays, loading
from fastgan.data.image_set import ImageSet

DATA = "images.npz"


def kept(
    config: TrainConfig,
    place: Path,
    images: ImageSet | None,
    labels: NDArray[Any] | None,
    held: ExitStack,
) -> ImageSet:
    """The images of a run; arrays are kept in its folder, and gone again if no run is begun there."""
    if images is None:
        return loading.load(config)
    pixels = images.images
    given = arrays.image_set(DATA, arrays.Arrays(pixels.numpy(), labels, None, None), pixels.shape[-1], pixels.shape[1])
    assert given is not None
    if not config.resume:
        named: dict[str, Any] = {"images": pixels.numpy()} | ({} if labels is None else {"labels": labels})

        def remove() -> None:
            if not (place / "run.json").exists():
                (place / DATA).unlink(missing_ok=True)

        held.callback(remove)
        np.savez(place / DATA, **named)
    return loading.load(config, replace(given, coloured=images.coloured))
