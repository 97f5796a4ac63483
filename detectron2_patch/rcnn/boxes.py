"""Box arithmetic, in detectron2's order of operations so that the bits are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

# exp() of the largest width or height delta: 1000 / 16 times the anchor (Detectron, 2018).
SCALE_CLAMP = math.log(1000.0 / 16)


def encode(source: Tensor, target: Tensor, weights: Sequence[float]) -> Tensor:
    """Deltas ``(R, 4)`` that take ``source`` boxes to ``target`` boxes (R-CNN, appendix C)."""
    source_center, source_size = _center_and_size(source)
    target_center, target_size = _center_and_size(target)
    shift = (target_center - source_center) / source_size
    scale = torch.log(target_size / source_size)
    return torch.cat([shift, scale], dim=1) * source.new_tensor(weights)


def decode(deltas: Tensor, boxes: Tensor, weights: Sequence[float]) -> Tensor:
    """Apply deltas ``(R, 4 k)`` to boxes ``(R, 4)``: ``(R, 4 k)``, k boxes for each."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    center_x, center_y = boxes[:, 0] + 0.5 * width, boxes[:, 1] + 0.5 * height
    dx, dy, dw, dh = (deltas[:, i::4] / weight for i, weight in enumerate(weights))
    new_x = dx * width[:, None] + center_x[:, None]
    new_y = dy * height[:, None] + center_y[:, None]
    new_width = torch.exp(dw.clamp(max=SCALE_CLAMP)) * width[:, None]
    new_height = torch.exp(dh.clamp(max=SCALE_CLAMP)) * height[:, None]
    x1, y1 = new_x - 0.5 * new_width, new_y - 0.5 * new_height
    x2, y2 = new_x + 0.5 * new_width, new_y + 0.5 * new_height
    return torch.stack((x1, y1, x2, y2), dim=-1).reshape(deltas.shape)


def clip(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Boxes ``(…, 4)`` cut at the border of an image of ``(height, width)``."""
    height, width = image_size
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)


def to_image(boxes: Tensor, network_size: tuple[int, int], image_size: tuple[int, int]) -> Tensor:
    """Boxes ``(R, 4)`` scaled from the network's pixels to the image's, and clipped."""
    y, x = (image / network for image, network in zip(image_size, network_size))
    return clip(boxes * boxes.new_tensor([x, y, x, y]), image_size)


def larger_than(boxes: Tensor, side: float) -> Tensor:
    """Mask ``(R,)`` of the boxes whose width and height both exceed ``side``."""
    return (boxes[:, 2] - boxes[:, 0] > side) & (boxes[:, 3] - boxes[:, 1] > side)


def nms_by_group(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Non-maximum suppression within each group: kept indices by falling score, ties by index.

    Each group is a call of its own. The usual trick, one call on boxes shifted apart, rounds by
    an offset that depends on what else is in the call; then a box's fate would, too.
    """
    kept = [
        members[nms(boxes[members], scores[members], threshold)]
        for group in torch.unique(groups)
        for members in [torch.nonzero(groups == group).flatten()]
    ]
    if not kept:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    together = torch.cat(kept).sort().values
    return together[torch.sort(scores[together], descending=True, stable=True).indices]


def _center_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * size, size
