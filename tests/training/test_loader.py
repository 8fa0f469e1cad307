"""The ring that steps take their batches from: order, wrap-around, epochs, and a run resumed in its middle."""

from __future__ import annotations

import dataclasses
import platform

import pytest
import torch
from torch import Tensor

from fastgan.augment.factory import Transform, make_transform, transform_seed
from fastgan.augment.tensor import TensorTransform
from fastgan.config.schema import TrainConfig, TransformConfig
from fastgan.data import loading
from fastgan.training.engine import build_feed
from fastgan.training.loader import (
    DEVICE_SHARE,
    MOST_IMAGES,
    MOST_PIXELS,
    SLOTS,
    DeviceLoader,
    chunk_images,
    fits,
    placed,
)

CPU = torch.device("cpu")
COUNT, BATCH = 53, 4  # 13 batches an epoch; one image is left over in each
EPOCH = COUNT // BATCH * BATCH


class Marked:
    """A transform whose results encode the image's value and its number in the run."""

    name = "marked"

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.waiting: Tensor | None = None

    def start(self, images_BCHW: Tensor, first_image: int) -> None:
        assert self.waiting is None, "one start at a time"
        number_B = first_image + torch.arange(len(images_BCHW))
        self.begun.append(first_image)
        self.waiting = images_BCHW.double() + 1000.0 * number_B[:, None, None, None]

    def finish(self) -> Tensor:
        assert self.waiting is not None
        result, self.waiting = self.waiting, None
        return result


def order(epoch: int) -> Tensor:
    return torch.randperm(COUNT, generator=torch.Generator().manual_seed(epoch))


def make_feed(batches_a_chunk: int, transform: Transform | None = None) -> DeviceLoader:
    images = torch.arange(COUNT, dtype=torch.uint8).view(COUNT, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return DeviceLoader(
        images, order, batch_size=BATCH, transform=transform, chunk=batches_a_chunk * BATCH, dtype=torch.float64
    )


def grouped_feed(batches_a_chunk: int) -> DeviceLoader:
    images = torch.arange(COUNT, dtype=torch.uint8).view(COUNT, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return DeviceLoader(images, order, batch_size=BATCH, transform=None, chunk=batches_a_chunk * BATCH, grouped=True)


def expected(batch: int) -> Tensor:
    """The values of the images of one batch, from the definition: no image twice in an epoch."""
    epoch, begin = divmod(batch * BATCH, EPOCH)
    return order(epoch)[begin : begin + BATCH]


def check(feed: DeviceLoader, batch: int) -> None:
    real, other, _ = feed.batch_at(torch.tensor(batch * BATCH))
    assert real.shape == (BATCH, 1, 2, 2) and real.dtype == torch.uint8 and real.is_contiguous()
    assert (real == expected(batch)[:, None, None, None]).all(), batch
    if feed.augmented is not None:
        number_B = batch * BATCH + torch.arange(BATCH)
        assert other is not None
        assert torch.equal(other, real.double() + 1000.0 * number_B[:, None, None, None]), batch


@pytest.mark.parametrize("batches_a_chunk", [1, 3, 13, 20, 40], ids=lambda n: f"{n} batches a chunk")
def test_batches_come_in_order_over_many_epochs(batches_a_chunk: int) -> None:
    """Chunks shorter than an epoch, as long, and longer than three: the ring wraps, epochs end within chunks."""
    transform = Marked()
    feed = make_feed(batches_a_chunk, transform)
    batches = 5 * EPOCH // BATCH + 7
    assert feed.epoch_images == EPOCH and len(feed.real) == SLOTS * feed.chunk
    for batch in range(batches):
        feed.prefetch(batch * BATCH, (batch + 1) * BATCH)
        check(feed, batch)
    chunks = -(-batches // batches_a_chunk)
    assert transform.begun == [number * feed.chunk for number in range(chunks)], "each chunk is made once"


@pytest.mark.parametrize("batches_a_chunk", [1, 3, 13, 20])
@pytest.mark.parametrize("batch", [0, 1, 2, 5, 12, 13, 29, 61])
def test_a_resumed_run_reads_the_same_batches(batch: int, batches_a_chunk: int) -> None:
    transform = Marked()
    feed = make_feed(batches_a_chunk, transform)
    for number in range(batch, batch + 30):
        feed.prefetch(number * BATCH, (number + 1) * BATCH)
        check(feed, number)
    assert transform.begun[0] == batch // batches_a_chunk * feed.chunk, "its chunk is made from the beginning"


def test_several_batches_may_lie_across_a_border() -> None:
    """As in a graph of several iterations: both chunks are in the ring at once."""
    feed = make_feed(5, Marked())
    for begin in range(0, 60, 3):
        feed.prefetch(begin * BATCH, (begin + 3) * BATCH)
        for batch in range(begin, begin + 3):
            check(feed, batch)


def test_prefetch_loads_no_more_than_requested() -> None:
    feed = make_feed(2, Marked())
    with pytest.raises(AssertionError):
        feed.prefetch(0, 3 * BATCH)
    with pytest.raises(AssertionError):
        DeviceLoader(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), order, batch_size=4, transform=None, chunk=6)


def test_the_clock_may_be_set_back() -> None:
    """And forward; also while a chunk is in progress, as on a GPU."""
    transform = Marked()
    feed = make_feed(3, transform)
    for batch in (0, 30, 31, 2, 40, 0):
        feed.prefetch(batch * BATCH, (batch + 1) * BATCH)
        check(feed, batch)
    feed._start(99)
    feed.prefetch(5 * BATCH, 6 * BATCH)
    check(feed, 5)


def test_without_a_contrastive_loss_nothing_is_transformed() -> None:
    feed = make_feed(3)
    for batch in range(20):
        feed.prefetch(batch * BATCH, (batch + 1) * BATCH)
        assert feed.batch_at(torch.tensor(batch * BATCH))[1] is None
        check(feed, batch)
    config = TrainConfig(image_size=16, contrastive_weight=0.0)
    assert build_feed(config, loading.load(config), CPU).transform is None


@pytest.mark.parametrize("name", ["torchvision", "dali"])
def test_chunks_make_no_difference_to_a_run(name: str) -> None:
    """Real transforms: batches of long chunks, of chunks of one batch, and of the middle are the same, bit for bit."""
    if name == "dali" and platform.system() != "Linux":
        pytest.skip("DALI is for Linux")
    changed = TransformConfig(rotation=15.0, shift=0.1, flip=0.5, brightness=0.2, contrast=0.2)
    config = TrainConfig(image_size=16, batch_size=32, augment=name, transform=changed)  # type: ignore[arg-type]
    images = loading.load(config)
    chunk = chunk_images(32, 16 * 16, CPU)
    feeds = [build_feed(config, images, CPU)]
    for length in (32, 96):
        transform = make_transform(config, channels=1, most=length, device=CPU)
        feeds.append(
            DeviceLoader(
                images.images,
                lambda epoch: loading.epoch_order(config, len(images.images), epoch),
                batch_size=32,
                transform=transform,
                chunk=length,
            )
        )
    for batch in (0, 1, 31, 32, 33, 40, 100):  # 36 batches an epoch, 32 a long chunk
        views = []
        for feed in feeds:
            feed.prefetch(batch * 32, (batch + 1) * 32)
            views.append(feed.batch_at(torch.tensor(batch * 32)))
        assert feeds[0].chunk == chunk == 1024
        for real, other, _ in views[1:]:
            assert other is not None and views[0][1] is not None
            assert torch.equal(real, views[0][0])
            assert torch.equal(other, views[0][1])
        index = loading.epoch_order(config, len(images.images), batch // 36)[batch % 36 * 32 :][:32]
        assert torch.equal(views[0][0], images.images[index])


def test_the_feed_transforms_what_its_config_says() -> None:
    """In the requested dtype, with the seed of the config."""
    config = TrainConfig(image_size=16, seed=3)
    feed = build_feed(config, loading.load(config), CPU, torch.float64)
    feed.prefetch(0, 64)
    real, other, _ = feed.batch_at(torch.tensor(0))
    direct = TensorTransform(config.transform, transform_seed(config, CPU), torch.float64)
    direct.start(real, 0)
    assert other is not None and other.dtype == torch.float64
    assert torch.equal(other, direct.finish())
    another = dataclasses.replace(config, seed=4)
    direct = TensorTransform(config.transform, transform_seed(another, CPU), torch.float64)
    direct.start(real, 0)
    assert not torch.equal(other, direct.finish())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("numbers", [16 * 16, 28 * 28, 3 * 64 * 64, 3 * 256 * 256])
@pytest.mark.parametrize("batch_size", [2, 64, 100, 5000, 20_000])
def test_chunks_are_whole_batches_of_bounded_size(batch_size: int, numbers: int, device: str) -> None:
    chunk = chunk_images(batch_size, numbers, torch.device(device))
    assert chunk % batch_size == 0 and chunk >= batch_size
    assert chunk == batch_size or chunk * numbers <= MOST_PIXELS[device]
    assert chunk == batch_size or chunk <= MOST_IMAGES[device]


# --- groups ---


@pytest.mark.parametrize("batches_a_chunk", [1, 3, 13, 20])
def test_each_image_comes_with_its_group(batches_a_chunk: int) -> None:
    """-1 at first; new groups apply from the next batch on, although the ring is full, and so do later ones."""
    feed = grouped_feed(batches_a_chunk)

    def taken(batch: int) -> tuple[Tensor, Tensor]:
        feed.prefetch(batch * BATCH, (batch + 1) * BATCH)
        real, _, groups = feed.batch_at(torch.tensor(batch * BATCH))
        assert groups is not None and groups.dtype == torch.int64
        assert (real == expected(batch)[:, None, None, None]).all()
        return real[:, 0, 0, 0].long(), groups

    for batch in range(10):
        assert (taken(batch)[1] == -1).all()
    for number in (7, 3):
        feed.regroup(torch.arange(COUNT) % number)
        for batch in range(10, 40):
            images, groups = taken(batch)
            assert torch.equal(groups, images % number), batch


def test_another_run_begins_without_groups() -> None:
    feed = grouped_feed(3)
    feed.regroup(torch.arange(COUNT))
    feed.restart(feed.images, order)
    feed.prefetch(0, BATCH)
    groups = feed.batch_at(torch.tensor(0))[2]
    assert groups is not None and (groups == -1).all() and (feed.groups == -1).all()


def test_without_a_grouping_there_are_no_groups() -> None:
    feed = make_feed(2, Marked())
    feed.prefetch(0, BATCH)
    assert feed.batch_at(torch.tensor(0))[2] is None


# --- where the images lie ---


def test_images_beyond_the_gpus_share_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    images, free = torch.zeros(100, 3, 8, 8, dtype=torch.uint8), [0, 1 << 40]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: tuple(free))
    for share, expected in ((1.0, True), (1.01, False)):
        free[0] = int(images.nbytes / DEVICE_SHARE / share)
        assert fits(images, torch.device("cuda", 0)) is expected
    assert placed(images, torch.device("cuda")) is images
    assert placed(images, CPU) is images


@pytest.mark.parametrize("batches_a_chunk", [1, 3, 20])
def test_streamed_batches_are_the_same(batches_a_chunk: int) -> None:
    """The host gathers a chunk; here the CPU is also the device."""
    feed = make_feed(batches_a_chunk, Marked())
    assert not feed.streams
    feed.streams = True
    for batch in (*range(30), 2):
        feed.prefetch(batch * BATCH, (batch + 1) * BATCH)
        check(feed, batch)


def test_images_on_another_device_are_streamed() -> None:
    """The meta device shows where each tensor is, though not its content."""
    images = torch.zeros(COUNT, 1, 2, 2, dtype=torch.uint8)
    feed = DeviceLoader(
        images, order, batch_size=BATCH, transform=None, chunk=BATCH, grouped=True, device=torch.device("meta")
    )
    feed.prefetch(0, BATCH)
    assert feed.streams and feed.images is images and feed.groups.device == CPU
    real, _, groups = feed.batch_at(torch.tensor(0, device="meta"))
    assert real.device.type == "meta" and groups is not None and groups.device.type == "meta"
    feed.restart(images.to("meta"), order)
    assert not feed.streams
