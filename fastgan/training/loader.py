"""Images and their transforms, thousands at a time, in a ring on the device from which steps take their batches.

A transform called once a batch would cost a GPU more in launches than the step does, and DALI cannot be captured in a
CUDA graph. So both are made a chunk at a time, on their own stream while the steps of the previous chunk run, and a
step finds its batch from the clock: image number modulo the ring's length, on the device.

The decoded images stay on the device if they fit; if they would take more than DEVICE_SHARE of a GPU's free memory,
they are streamed from the host, a chunk at a time (`placed`).

Chunks begin at multiples of their length, counted from the run's first image: a run resumed in the middle of a chunk
makes the whole chunk again, with the same numbers in the same places.

Legend: B batch, R the ring's images, CHW an image.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from fastgan.augment.factory import Transform

SLOTS = 2  # chunks in the ring: one is read while the other is written; a batch across their border reads both
MOST_IMAGES = {"cuda": 8192, "cpu": 1024}
MOST_PIXELS = {"cuda": 1 << 24, "cpu": 1 << 21}  # over all channels; keeps a ring of large images small
DEVICE_SHARE = 0.5  # of a GPU's free memory that the decoded images may take; the rest is for the step and its graphs


def chunk_images(batch_size: int, image_numbers: int, device: torch.device) -> int:
    """How many images to prepare at a time: a multiple of the batch size; `image_numbers` is C * H * W."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    most = min(MOST_IMAGES[kind], MOST_PIXELS[kind] // image_numbers)
    return max(most // batch_size, 1) * batch_size


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether to copy images from the host to the device; never on a CPU, which reads them where they are."""
    if device.type != "cuda" or images.is_cuda:
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= DEVICE_SHARE * free


def placed(images: Tensor, device: torch.device) -> Tensor:
    """uint8 images [N, C, H, W], on the device if they fit there, else where they are, such as in a mapped file."""
    return images.to(device) if fits(images, device) else images


class DeviceLoader:
    """The run's images in their order, epoch after epoch, with their transforms.

    Args:
        images: uint8 [N, C, H, W], on the device or, to be streamed, on the CPU.
        order: the images of epoch 0, 1, ..., int64 on the CPU: a permutation of range(N), or a rank's share of one.
        batch_size: of a step; the last, smaller batch of an epoch is dropped.
        transform: makes the second view; None if no loss needs it.
        chunk: images prepared at a time, a multiple of the batch size.
        dtype: of the transforms.
        grouped: keep a group of each image too, in `groups`: int64 [N], -1 for none, on the CPU.
        device: where steps read their batches; left out, where the images are.
        ranks: how many share the images. All counts here are of this rank's images.
    """

    def __init__(
        self,
        images: Tensor,
        order: Callable[[int], Tensor],
        *,
        batch_size: int,
        transform: Transform | None,
        chunk: int,
        dtype: torch.dtype = torch.float32,
        grouped: bool = False,
        device: torch.device | None = None,
        ranks: int = 1,
    ) -> None:
        assert chunk % batch_size == 0, f"{chunk} images are no whole batches of {batch_size}"
        self.transform, self.chunk, self.batch_size, self._ranks = transform, chunk, batch_size, ranks
        device = images.device if device is None else device
        self.real = images.new_zeros(SLOTS * chunk, *images.shape[1:], device=device)
        self.augmented = None if transform is None else torch.zeros_like(self.real, dtype=dtype)
        self._group_ring = self.real.new_full((SLOTS * chunk,), -1, dtype=torch.int64) if grouped else None
        self._rows = torch.arange(batch_size, device=device)
        self._stream = torch.cuda.Stream(self.real.device) if self.real.is_cuda else None
        # The chunk in progress: its number, images and their indices.
        self._started: tuple[int, Tensor, Tensor] | None = None
        self.restart(images, order)

    def restart(self, images: Tensor, order: Callable[[int], Tensor]) -> None:
        """Serve another run: other images of the same size, through the same ring."""
        assert images.shape[1:] == self.real.shape[1:]
        self._abandon()
        self.images, self.order = images, order
        self.streams = images.device != self.real.device
        assert not self.streams or images.device.type == "cpu"
        self.epoch_images = len(images) // (self._ranks * self.batch_size) * self.batch_size
        self._held = [-1] * SLOTS  # the chunk that each slot holds
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self.groups = torch.full((len(images),), -1)

    def regroup(self, groups_N: Tensor) -> None:
        """Give each image its group, int64 [N], -1 for none, from the next `prefetch` on."""
        assert self._group_ring is not None and groups_N.shape == self.groups.shape
        self._abandon()
        self.groups.copy_(groups_N)
        self._held = [-1] * SLOTS

    def prefetch(self, first: int, last: int) -> None:
        """Load images first ... last - 1 of the run into the ring before steps read them; at most one chunk's length.

        On a GPU this also starts the next chunk, so that the next call hardly waits.
        """
        assert 0 < last - first <= self.chunk
        upto = (last - 1) // self.chunk
        for number in range(first // self.chunk, upto + 1):
            if self._held[number % SLOTS] != number:
                self._fill(number)
        if self._stream is not None and self._started is None and self._held[(upto + 1) % SLOTS] != upto + 1:
            self._start(upto + 1)

    def batch_at(self, images_seen: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The batch that begins at image `images_seen` (int64 tensor) of the run, its transforms and its groups.

        Only device operations, so that a captured step reads the next batch at each replay.

        Returns:
            uint8 [B, C, H, W]; [B, C, H, W] in [-1, 1] or None; int64 [B] or None.
        """
        index_B = (images_seen + self._rows) % len(self.real)
        augmented, groups = (
            None if ring is None else ring.index_select(0, index_B) for ring in (self.augmented, self._group_ring)
        )
        return self.real.index_select(0, index_B), augmented, groups

    def _side(self) -> Any:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _start(self, number: int) -> None:
        first = number * self.chunk
        with self._side():
            index = self._index(first)
            # Streamed: the host gathers a chunk while the device runs the steps of the previous one.
            images = self._to_device(self.images[index]) if self.streams else self.images[self._to_device(index)]
            if self.transform is not None:
                self.transform.start(images, first)
        self._started = number, images, index

    def _abandon(self) -> None:
        """Discard the chunk in progress."""
        if self._started is not None and self.transform is not None:
            with self._side():
                self.transform.finish()
        self._started = None

    def _fill(self, number: int) -> None:
        """Finish a chunk and copy it into its slot, ordered after the steps that read the ring."""
        if self._started is not None and self._started[0] != number:  # the clock has jumped
            self._abandon()
        if self._started is None:
            self._start(number)
        assert self._started is not None
        _, images, index = self._started
        augmented = None
        if self.transform is not None:
            with self._side():
                augmented = self.transform.finish()
        if self._stream is not None:
            reader = torch.cuda.current_stream(self.real.device)
            reader.wait_stream(self._stream)
            for made in (images, augmented):
                if made is not None:
                    made.record_stream(reader)  # their memory is not reused before the copies below
        slot = slice(number % SLOTS * self.chunk, (number % SLOTS + 1) * self.chunk)
        self.real[slot].copy_(images)
        if self.augmented is not None and augmented is not None:
            self.augmented[slot].copy_(augmented)
        if self._group_ring is not None:
            self._group_ring[slot].copy_(self._to_device(self.groups[index]))
        self._held[number % SLOTS], self._started = number, None

    def _index(self, first: int) -> Tensor:
        """Indices [chunk], on the CPU, of the run's images first, first + 1, ..."""
        parts, position = [], first
        while position < first + self.chunk:
            epoch, begin = divmod(position, self.epoch_images)
            if self._order[0] != epoch:
                self._order = epoch, self.order(epoch)
            end = min(self.epoch_images, begin + first + self.chunk - position)
            parts.append(self._order[1][begin:end])
            position += end - begin
        return torch.cat(parts)

    def _to_device(self, values: Tensor) -> Tensor:
        if self.real.is_cuda:  # a copy from pageable memory would block
            values = values.pin_memory()
        return values.to(self.real.device, non_blocking=True)
