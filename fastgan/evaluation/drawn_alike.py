"""Whether what the model draws for a group looks like the group's real images, without asking the model.

Q takes what the generator draws of a code for that code, so it cannot be asked. Each drawn image is compared in pixels
with real images of all groups instead, equally many of each: its nearest one should be of its own group, about as often
as that of a real image that is left out. Blur, noise and a little more light do not matter then; another shape does.

Legend: S samples, M real images that are compared with, K codes, P pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastgan.data.neighbours import centred, pixels, pooled
from fastgan.evaluation.finding import Action, Advice, Finding, Shown
from fastgan.seeding import shuffled
from fastgan.text import joined, words

REFERENCE, LEFT_OUT = 100, 50  # real images of each group, at most, that are compared with, and that are tried
FEWEST = 20  # images that a group needs, two thirds of which are compared with
# Drawn images are unlike their group when they find it less than this much as often as real ones. Of real, blurred,
# noisy and darker images of the true classes of three data sets none did, of those of another class nearly all did.
UNLIKE = 0.5
TOLD = 0.2  # of the way from chance to always that real images find their group at least, or pixels cannot tell
PICTURES = 8


@dataclass(frozen=True)
class Alike:
    """How often the nearest real image is of the own group: of drawn images, and of real ones that were left out.

    instead: the group of which it is most often otherwise, None for no other.
    """

    drawn: float
    real: float
    chance: float
    instead: int | None

    @property
    def unlike(self) -> bool:
        """Whether the drawn images are clearly others than the group's."""
        return self.real - self.chance >= TOLD * (1 - self.chance) and self.drawn < UNLIKE * self.real


class Groups:
    """Real images of each group, as few pixels, with which others are compared.

    Args:
        images_NCHW: uint8; codes_N: the group of each, int64 on the CPU.
    """

    def __init__(self, images_NCHW: Tensor, codes_N: Tensor, seed: int) -> None:
        parts, codes = [], []
        self._left: dict[int, Tensor] = {}
        for code in torch.unique(codes_N).tolist():
            own = torch.nonzero(codes_N == code).flatten()
            own = own[shuffled(len(own), seed, f"drawn-alike-{code}")][: REFERENCE + LEFT_OUT]
            if len(own) < FEWEST:
                continue
            cut = 2 * len(own) // 3
            parts.append(own[:cut])
            codes.append(torch.full((cut,), code))
            self._left[code] = own[cut:]
        self._images = images_NCHW
        self.count = len(parts)
        if parts:
            pixels_MP = pixels(images_NCHW, torch.cat(parts)).cpu()
            self._codes_M, self._mean_P = torch.cat(codes), pixels_MP.mean(0)
            self._unit_MP = centred(pixels_MP, self._mean_P)

    def compare(self, samples_SCHW: Tensor, code: int) -> Alike | None:
        """How alike a code's samples, in [-1, 1], are to its group; None where the group is too small or alone."""
        if code not in self._left or self.count < 2:
            return None
        drawn_S = self._nearest(pooled((samples_SCHW.float().cpu() + 1) / 2))
        real_S = self._nearest(pixels(self._images, self._left[code]).cpu())
        others = drawn_S[drawn_S != code]
        return Alike(
            drawn=float((drawn_S == code).float().mean()),
            real=float((real_S == code).float().mean()),
            chance=1 / self.count,
            instead=int(others.mode().values) if len(others) else None,
        )

    def _nearest(self, pixels_SP: Tensor) -> Tensor:
        """The group of the nearest image of each, [S]."""
        return self._codes_M[(centred(pixels_SP, self._mean_P) @ self._unit_MP.T).argmax(1)]


def finding(found: Mapping[int, Alike | None], codes_N: Tensor) -> Finding | None:
    """The groups whose drawn images are others than theirs, with pictures; None where there is none.

    Args:
        found: by code; codes_N: the group of each real image.
    """
    codes = sorted(code for code, alike in found.items() if alike is not None and alike.unlike)
    if not codes:
        return None
    told, shown = list[str](), list[Shown]()
    for code in codes[:3]:
        alike = found[code]
        assert alike is not None
        instead = f", but mostly of group {alike.instead}" if alike.instead is not None else ""
        told.append(
            f"for {alike.drawn:.0%} of the images made for group {code} the real image most like it is of that group"
            f"{instead}; left-out real images of the group find it in {alike.real:.0%} of cases"
        )
        own = torch.nonzero(codes_N == code).flatten()[:PICTURES].tolist()
        shown.append(Shown(f"Group {code}: real images, and what the model made for it", own, drawn=code))
    one = len(codes) == 1
    more = f" (so it is with groups {words(codes)})" if len(codes) > 3 else ""
    text = f"{joined(told)[0].upper()}{joined(told)[1:]}{more}."
    title = "A group's made-up images are of another kind" if one else "Groups' made-up images are of another kind"
    return Finding(
        title,
        text,
        f"Go by the real images of {'group' if one else 'groups'} {words(codes)}, not by what the model makes for "
        f"{'it' if one else 'them'}.",
        _advice(),
        tuple(shown),
    )


def _advice() -> Sequence[Advice]:
    return (Advice(Action.LONGER), Advice(Action.SEED))
