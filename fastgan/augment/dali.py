"""The transform by NVIDIA DALI (`--augment dali`): one affine warp and one change of colour, on a GPU or a CPU.

Its parameters are drawn by the same code as the tensor backend's, so both transform alike (DALI's warp has no bicubic
interpolation). DALI reads a GPU's tensors without a copy. The pipeline uses threads and its own CUDA stream; there are
no worker processes, which would outlive a killed parent.

Legend: as in transform.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastgan.augment.transform import MID_GREY, draw, draw_colours
from fastgan.config.schema import TransformConfig

INSTALL = "pip install nvidia-dali-cuda130 (Linux)"
COLOURS = ("brightness", "contrast", "saturation", "hue")


class DaliUnavailableError(Exception):
    """DALI is missing or does not work here; the message gives the cause in one line."""


def pixel_maps(maps_B23: Tensor, size: int) -> Tensor:
    """Affine maps [B, 2, 3] of coordinates in [-1, 1] as maps of pixels, with (0, 0) the corner of the first pixel."""
    shift_B2 = (maps_B23[:, :, 2] + 1.0 - maps_B23[:, :, :2].sum(2)) * (size / 2)
    return torch.cat((maps_B23[:, :, :2], shift_B2[:, :, None]), dim=2)


class DaliTransform:
    """Transforms batches of images with a DALI pipeline.

    Args:
        seed: int64 tensor on `device`.
        channels, size: of the images.
        most: maximum number of images in a batch.

    Raises:
        DaliUnavailableError: when DALI cannot be imported or cannot run the pipeline.
    """

    def __init__(
        self, config: TransformConfig, seed: Tensor, *, channels: int, size: int, most: int, device: torch.device
    ) -> None:
        self.config, self.seed, self.device = config, seed, device
        self._host_seed = seed.detach().cpu().clone()
        self._channels, self._size = channels, size
        self._kept: tuple[Any, ...] = ()  # keeps DALI's inputs, read without a copy, and its output alive
        try:
            self._pipeline = self._build(most)
            # One image: a DALI that imports but does not work fails here and not during the run.
            self.start(torch.zeros(1, channels, size, size, dtype=torch.uint8, device=device), 0)
            self.finish()
        except Exception as error:  # noqa: BLE001 - a broken installation raises many kinds
            lines = str(error).strip().splitlines()
            raise DaliUnavailableError(lines[0] if lines else type(error).__name__) from error
        self.name = "dali (bilinear)"

    def _build(self, most: int) -> Any:
        from nvidia.dali import Pipeline, fn, types

        cuda = self.device.type == "cuda"
        place = "gpu" if cuda else "cpu"
        pipeline = Pipeline(
            batch_size=most,
            num_threads=torch.get_num_threads(),
            device_id=(self.device.index if self.device.index is not None else torch.cuda.current_device())
            if cuda
            else None,
            prefetch_queue_depth=1,
        )
        with pipeline:
            images = fn.external_source(name="images", device=place, no_copy=True, layout="HWC", dtype=types.UINT8)
            maps = fn.external_source(name="maps", device=place, no_copy=True, ndim=2, dtype=types.FLOAT)
            if self._changes_colours():
                # DALI takes these as operator arguments, which must be in host memory.
                change = {name: fn.external_source(name=name, no_copy=True, ndim=0) for name in self._colours()}
                if self._channels == 3:
                    images = fn.color_twist(images, dtype=types.FLOAT, **change)
                else:
                    images = fn.brightness_contrast(images, dtype=types.FLOAT, contrast_center=MID_GREY, **change)
            warped = fn.warp_affine(images, maps, fill_value=0.0, interp_type=types.INTERP_LINEAR, dtype=types.FLOAT)
            pipeline.set_outputs(warped)
        pipeline.build()
        return pipeline

    def _changes_colours(self) -> bool:
        return any(getattr(self.config, name) for name in self._colours())

    def _colours(self) -> tuple[str, ...]:
        """The colour parameters; grey images have neither saturation nor hue."""
        return COLOURS if self._channels == 3 else COLOURS[:2]

    def reseed(self, seed: int) -> None:
        """Use another seed from here on."""
        self.seed.fill_(seed)
        self._host_seed.fill_(seed)

    def start(self, images_BCHW: Tensor, first_image: int) -> None:
        """Start to transform uint8 images [B, C, H, W], the run's images from number first_image on; does not wait."""
        count = len(images_BCHW)
        maps = draw(self.config, self._size, count, seed=self.seed, first_image=first_image)
        one = self._channels == 1  # channels last is then the same memory
        inputs: dict[str, Tensor] = {
            "images": images_BCHW.view(count, self._size, self._size, 1)
            if one
            else images_BCHW.permute(0, 2, 3, 1).contiguous(),
            "maps": pixel_maps(maps, self._size),
        }
        if self._changes_colours():
            drawn = draw_colours(self.config, count, seed=self._host_seed, first_image=first_image)
            assert drawn is not None
            inputs |= {name: value.contiguous() for name, value in zip(COLOURS, drawn, strict=True)}
        stream = None
        if self.device.type == "cuda":
            # The inputs come from a few short kernels on this stream. The host waits for them here rather than rely on
            # how DALI orders its reads after another library's stream.
            stream = torch.cuda.current_stream(self.device)
            stream.synchronize()
        for name in ("images", "maps", *(self._colours() if self._changes_colours() else ())):
            value = inputs[name]
            self._pipeline.feed_input(name, value if value.is_cuda else value.numpy(), cuda_stream=stream)
        self._kept = tuple(inputs.values())
        self._pipeline.schedule_run()

    def finish(self) -> Tensor:
        """The result of the last start: float32 [B, C, H, W] in [-1, 1], ready on the current stream."""
        stream = torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None
        (warped,) = self._pipeline.outputs(cuda_stream=stream)
        images_BHWC = torch.utils.dlpack.from_dlpack(warped.as_tensor())
        result = images_BHWC.permute(0, 3, 1, 2) / 127.5
        self._kept = (*self._kept, warped)
        return result.sub_(1.0).clamp_(-1.0, 1.0).contiguous()
