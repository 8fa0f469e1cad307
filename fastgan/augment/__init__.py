"""Identity-preserving transforms of real images."""

from fastgan.augment.transform import draw, to_unit_range, warp

__all__ = ["draw", "to_unit_range", "warp"]
