"""Which images these are: by pixels and order, cheap, and told apart by name."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fastgan.data.identity import Identity, difference, identify
from fastgan.data.image_set import ImageSet

PATHS = ("a.png", "b/c d.png", "b/é.png", "b/\udcff.png", "z\n.png")


def images(seed: int = 0, paths: tuple[str, ...] | None = PATHS) -> ImageSet:
    pixels = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return ImageSet("folder", pixels, None, 0, paths)


def changed(order: list[int], paths: tuple[str, ...] | None = PATHS) -> ImageSet:
    return dataclasses.replace(images(), images=images().images[order], paths=paths)


def test_the_digest_is_of_pixels_and_order_alone() -> None:
    first = identify(images())
    assert identify(changed([0, 1, 2, 3, 4], None)).digest == first.digest
    assert identify(changed([1, 0, 2, 3, 4])).digest != first.digest
    assert identify(images(1)).digest != first.digest
    single = images().images.clone()
    single[4, 2, 7, 7] ^= 1
    assert identify(dataclasses.replace(images(), images=single)).digest != first.digest
    strided = dataclasses.replace(images(), images=images().images.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2))
    assert identify(strided).digest == first.digest


def test_many_images_are_digested_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = identify(images())
    monkeypatch.setattr("fastgan.data.identity.TOGETHER", 2)
    assert identify(images()) == whole


def test_a_listing_is_read_back_and_one_of_other_images_is_not() -> None:
    own = identify(images())
    listing = own.listing()
    assert listing is not None and len(listing.splitlines()) == 5 and listing.isascii()
    bare = Identity(own.count, own.digest)
    assert bare.listed(listing) == own
    for damaged in (
        "",
        listing[:-9],
        listing.replace("a.png", '"'),
        "0" + listing,
        identify(images(1)).listing() or "",
    ):
        assert bare.listed(damaged) == bare
    assert identify(images(paths=None)).listing() is None


def test_differences_name_the_files() -> None:
    own = identify(images())
    assert difference(own, own) == ""
    other = images()
    pixels = other.images.clone()
    pixels[:4] ^= 1
    found = difference(own, identify(dataclasses.replace(other, images=pixels)))
    assert found == "5 then, 5 now; 4 with other pixels: a.png, b/c d.png, b/é.png and 1 more"
    renamed = identify(changed([1, 2, 3, 4, 0], (*PATHS[1:], "zz.png")))
    assert difference(own, renamed) == "5 then, 5 now; 1 gone: a.png; 1 new: zz.png"
    assert difference(own, identify(changed([0, 1], PATHS[:2]))).endswith(
        "3 gone: b/é.png, 'b/\\udcff.png', 'z\\n.png'"
    )
    unlisted = Identity(own.count, own.digest)
    assert difference(unlisted, renamed) == "5 images then, 5 now, of other pixels"
