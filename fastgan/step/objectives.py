"""What each side of a step minimises: the discriminator's objective, and the generator's, Q's and the prior's.

Each is one function from images to scalars, so that a compiler can fuse nearly everything but the products.

Legend: B batch, K classes, H features, CHW image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fastgan.config.schema import TrainConfig
from fastgan.data import image_set
from fastgan.models.networks import Networks
from fastgan.models.prior import ClassPrior
from fastgan.runtime.distributed import SINGLE_PROCESS, Communicator
from fastgan.step import losses
from fastgan.step.compile import Compiled, compile_in_place
from fastgan.step.real_losses import OnRealImages, Parts, none


class Objectives:
    """Both objectives of a step (RECIPE: the authors' losses; docs/prior.md: what the default recipe adds).

    Args:
        networks: the ones a step runs, low-precision copies included; prior: its logits learn if they are a parameter.
        config: the weights of the losses.
        comm: the ranks whose images the losses cover.
    """

    def __init__(
        self, networks: Networks, prior: ClassPrior, config: TrainConfig, comm: Communicator = SINGLE_PROCESS
    ) -> None:
        self.networks, self.prior, self.config = networks, prior, config
        self._on_real_images = OnRealImages(networks.code_head, config, comm)
        # What may be compiled is called through these names.
        self._front_end: Callable[..., Any] = networks.front_end
        self._forward_groups: Callable[..., Any] = networks.front_end.forward_groups

    def compile_networks(self) -> list[Compiled]:
        """Compile only the front end; returns what was compiled."""
        return compile_in_place(self, ("_front_end", "_forward_groups"))

    def of_real_images(self, real_BCHW: Tensor, augmented_BCHW: Tensor, group_B: Tensor | None) -> tuple[Tensor, Parts]:
        """The losses on real images alone, for pretraining: their weighted sum, and its parts. Args as below."""
        real = image_set.to_unit_range(real_BCHW, self.prior.logits.dtype)
        real_BH = self._front_end(real)
        augmented_BH = self._front_end(augmented_BCHW.to(real.dtype), not self.config.real_averages)
        return self._on_real_images(real_BH, augmented_BH, group_B)

    def of_discriminator(
        self, real_BCHW: Tensor, augmented_BCHW: Tensor | None, fake_BCHW: Tensor, group_B: Tensor | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None, Parts | None]:
        """The scalar that the D step differentiates, the discriminator's own loss, and what the G step needs.

        The G step needs the losses on real images or, if the front end does not learn from these, the detached features
        [B, H] of the images and of their transforms.

        Args:
            real_BCHW: uint8.
            augmented_BCHW, fake_BCHW: transforms of the real images, and generated ones, in [-1, 1].
            group_B: the real images' groups (pseudo-labels), int64, -1 for none.
        """
        net, config, count = self.networks, self.config, len(real_BCHW)
        real = image_set.to_unit_range(real_BCHW, self.prior.logits.dtype)
        augmented = None if augmented_BCHW is None else augmented_BCHW.to(real.dtype)
        shared, update_stats = config.front_end_learns, not config.real_averages
        both_BH, augmented_BH = self._forward_groups(real, augmented, fake_BCHW, shared, update_stats)
        d_loss = losses.discriminator_loss(*net.discriminator(both_BH).chunk(2))
        # Losses that are only reported are detached: a compiled backward pass would get a zero gradient for each.
        shown = d_loss.detach()
        if augmented_BH is None:
            return d_loss, shown, None, none(shown)
        if not shared:
            return d_loss, shown, (both_BH[:count].detach(), augmented_BH), None
        on_real, parts = self._on_real_images(both_BH[:count], augmented_BH, group_B)
        return d_loss + on_real, shown, None, parts

    def of_generator(
        self,
        fake_BCHW: Tensor,
        code_B: Tensor,
        features: tuple[Tensor, Tensor] | None,
        parts: Parts | None,
        group_B: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Parts]:
        """The scalar that the G step differentiates, the generator's and the codes' loss, and those on real images.

        Args:
            fake_BCHW: with its graph; code_B: the codes it was drawn from, int64.
            features, parts: from `of_discriminator`.
        """
        net, config, update_stats = self.networks, self.config, not self.config.real_averages
        fake_BH = self._front_end(fake_BCHW, update_stats)
        g_loss = losses.generator_loss(net.discriminator(fake_BH))
        information = losses.information_loss(net.code_head(fake_BH, update_stats), code_B)
        total = g_loss + information
        if parts is None:
            assert features is not None
            on_real, parts = self._on_real_images(*features, group_B)
            total = total + on_real
        if self.prior.logits.requires_grad and parts.mean_K is not None:
            total = total + config.prior_pull * (losses.prior_loss(self.prior.logits, parts.mean_K) * parts.pulled)
        return total, g_loss.detach(), information.detach(), parts
