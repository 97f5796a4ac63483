"""RoIAlign of boxes, each from the level of its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from detectron2_patch.rcnn.fpn import STRIDES

POOLED_LEVELS = ("p2", "p3", "p4", "p5")


def pooled_level(boxes: Tensor, levels: Sequence[str] = POOLED_LEVELS) -> Tensor:
    """Index into ``levels`` of the map a box ``(R, 4)`` is pooled from (FPN, equation 1)."""
    finest, coarsest = (int(level[1:]) for level in (levels[0], levels[-1]))
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    level = torch.floor(4 + torch.log2(torch.sqrt(area) / 224 + 1e-8))
    return level.clamp(finest, coarsest).to(torch.int64) - finest


class Pooler:
    """Cuts the same number of elements, ``S`` by ``S``, out of the maps for every box.

    Args:
        head: the configuration's node of a head, with its ``POOLER_…`` keys.
    """

    def __init__(self, head) -> None:
        self.head = head

    def __call__(self, features: Mapping[str, Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Each image's boxes, each from its own level: ``(R, C, S, S)``."""
        numbers = [torch.full_like(b[:, :1], n) for n, b in enumerate(boxes)]
        rois = torch.cat([torch.cat(numbers), torch.cat(list(boxes))], dim=1)
        levels = pooled_level(rois[:, 1:])
        size = self.head.POOLER_RESOLUTION
        pooled = features["p2"].new_zeros(len(rois), features["p2"].shape[1], size, size)
        for index, level in enumerate(POOLED_LEVELS):
            members = torch.nonzero(levels == index).flatten()
            part = self.level(level, features[level], rois[members])
            pooled = pooled.index_put((members,), part)
        return pooled

    def level(self, level: str, feature: Tensor, rois: Tensor) -> Tensor:
        """Boxes ``(R, 5)``, the image's number in front, from one map ``(N, C, H, W)``:
        ``(R, C, S, S)``."""
        return roi_align(
            feature,
            rois,
            output_size=self.head.POOLER_RESOLUTION,
            spatial_scale=1 / STRIDES[level],
            sampling_ratio=self.head.POOLER_SAMPLING_RATIO,
            aligned=self.head.POOLER_TYPE == "ROIAlignV2",
        )

    def groups(self, groups: Sequence[tuple[str, Tensor, Tensor]]) -> Tensor:
        """Of each level, its map and the boxes of it, as ``level`` takes them: one group after the
        other."""
        return torch.cat([self.level(*group) for group in groups])
