"""Shrink a feature map bilinearly and stretch it back: what a low-resolution map still holds."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor


def reduced_size(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Size of a map shrunk by ``ratio`` along each side, rounded down, never below 1x1."""
    if ratio == 1:
        return height, width
    return max(1, int(height // ratio)), max(1, int(width // ratio))


def shrink(feature: Tensor, ratio: float) -> Tensor:
    """What is left of a map ``(N, C, H, W)`` shrunk by ``ratio``; see ``degrade``."""
    if ratio == 1:
        return feature
    return F.interpolate(feature, reduced_size(*feature.shape[-2:], ratio), mode="bilinear")


def degrade(feature: Tensor, ratio: float) -> Tensor:
    """Shrink a map ``(N, C, H, W)`` by ``ratio`` and stretch it back, bilinearly.

    The origin's arithmetic: ``interpolate`` without aligned corners or antialiasing, to
    ``(H // ratio, W // ratio)`` and back. Where the origin failed (``ratio > H``) the reduced
    size stays at 1; ``inf`` always reduces to 1x1. Ratio 1 returns ``feature`` itself.
    """
    if ratio == 1:
        return feature
    return F.interpolate(shrink(feature, ratio), feature.shape[-2:], mode="bilinear")


def degrade_pyramid(
    features: Mapping[str, Tensor], ratios: Mapping[str, float]
) -> dict[str, Tensor]:
    """A new pyramid with each level degraded by its ratio; levels without one pass as they are."""
    return {level: degrade(x, ratios.get(level, 1)) for level, x in features.items()}
