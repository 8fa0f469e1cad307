"""One iteration of pretraining: the front end and Q learn from real images; no image is generated.

Legend: B batch, CHW image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.step.compile import compile_in_place
from fastgan.step.step import Step


class PretrainingStep:
    """Updates the front end and Q by the losses on real images, with the optimisers, guard and clock of `step`.

    It takes less than half the time of a whole step, and an embedding that is good before the generator begins gives
    it codes that stay (docs/prior.md). Like a whole step it never waits for the device and can be captured.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._of_real, self._finish = step.objectives.of_real_images, step.finish
        if step.compiled:
            names = ("_of_real", "_finish") if step.comm.world_size == 1 else ("_finish",)
            step.compiled += compile_in_place(self, names)

    def __call__(self, images_BCHW: Tensor, augmented_BCHW: Tensor | None, group_B: Tensor | None = None) -> Tensor:
        """One update of front end and Q; the clock advances.

        Args:
            images_BCHW: uint8 [B, C, H, W].
            augmented_BCHW: their transforms, [B, C, H, W] in [-1, 1].
            group_B: the images' groups (pseudo-labels), int64, -1 for none.

        Returns:
            The losses [6] in the order of LOSSES, 0 where they belong to the discriminator or the generator.
        """
        step = self._step
        assert augmented_BCHW is not None
        step.guard.begin()
        with step.precision.autocast(step.device):
            total, parts = self._of_real(images_BCHW, augmented_BCHW, group_B)
        none = torch.zeros_like(total)
        # The other parameters of both optimisers get no gradient, so they and the averages stay as they are.
        step.optimizers.update_all(total, none)
        return self._finish((none, none, none, *parts.losses), len(images_BCHW) * step.comm.world_size, None)
