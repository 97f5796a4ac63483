"""Shrink a feature map bilinearly and stretch it back: what a low-resolution map still holds."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def reduced_size(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Size of a map shrunk by ``ratio`` along each side, rounded down, never below 1x1."""
    if ratio == 1:
        return height, width
    return max(1, int(height // ratio)), max(1, int(width // ratio))


def shrink(feature: Tensor, ratio: float) -> Tensor:
    """``(N, C, H, W)`` -> ``(N, C, H // ratio, W // ratio)``, bilinearly, in the origin's way:
    without aligned corners or antialiasing.

    Where the origin failed (``ratio > H``) the reduced size stays at 1; ``inf`` always reduces to
    1x1. Ratio 1 returns ``feature`` itself.
    """
    if ratio == 1:
        return feature
    height, width = feature.shape[-2:]
    return F.interpolate(feature, reduced_size(height, width, ratio), mode="bilinear")


def stretch(small: Tensor, ratio: float, size: tuple[int, int]) -> Tensor:
    """What ``shrink`` left, back at ``size``."""
    return small if ratio == 1 else F.interpolate(small, size, mode="bilinear")
