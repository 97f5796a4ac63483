"""Anchors at the levels' exact strides, neither rounded nor spaced by the image's size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detectron2_patch.settings.levels import LEVELS


def cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    """Anchors ``(A, 4)`` around the origin: areas ``size²``, aspect ratio height over width."""
    anchors = []
    for size in sizes:
        for aspect_ratio in aspect_ratios:
            width = math.sqrt(size**2.0 / aspect_ratio)
            height = aspect_ratio * width
            anchors.append([-width / 2.0, -height / 2.0, width / 2.0, height / 2.0])
    return torch.tensor(anchors)


class Anchors:
    """The anchors of each level.

    Args:
        generator: the configuration's ``MODEL.ANCHOR_GENERATOR``. ``SIZES`` and
            ``ASPECT_RATIOS`` hold one list for all levels or one a level.
        levels: that have anchors, finest first.
    """

    def __init__(self, generator, levels: Sequence[str] = LEVELS) -> None:
        sizes, ratios = (
            list(lists) * len(levels) if len(lists) == 1 else lists
            for lists in (generator.SIZES, generator.ASPECT_RATIOS)
        )
        self.cells = {level: cell_anchors(s, r) for level, s, r in zip(levels, sizes, ratios)}
        self.offset = generator.OFFSET
        self.per_location = len(self.cells[levels[0]])

    def level(self, level: str, feature: Tensor) -> Tensor:
        """Anchors ``(H W A, 4)`` of a level whose map is ``(N, C, H, W)``, on its device."""
        stride, device = 2 ** int(level[1:]), feature.device
        start = self.offset * stride
        y, x = (
            torch.arange(start, size * stride, stride, dtype=torch.float32, device=device)
            for size in feature.shape[-2:]
        )
        y, x = (grid.reshape(-1) for grid in torch.meshgrid(y, x, indexing="ij"))
        shifts = torch.stack((x, y, x, y), dim=1)
        cells = self.cells[level].to(device)
        return (shifts[:, None, :] + cells[None, :, :]).reshape(-1, 4)
