"""Which anchor or proposal stands for which object in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

IGNORE = -1


def match(
    boxes: Tensor,
    truth: Tensor,
    thresholds: Sequence[float],
    labels: Sequence[int],
    *,
    keep_best: bool,
) -> tuple[Tensor, Tensor]:
    """Assign ground truth to boxes by IoU.

    Args:
        boxes: ``(R, 4)``.
        truth: ``(G, 4)``; may be empty.
        thresholds: rising IoU bounds between the labels.
        labels: one more than thresholds: 0 background, 1 object, -1 ignored.
        keep_best: also label 1 the boxes with the highest IoU of each object (Faster R-CNN,
            section 3.1.2), ties included.

    Returns:
        index of the best object ``(R,)`` and label ``(R,)``.
    """
    if len(truth) == 0:
        nothing = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
        return nothing, torch.full_like(nothing, labels[0])
    iou = box_iou(truth, boxes)
    best, index = iou.max(dim=0)
    bounds = best.new_tensor(list(thresholds))
    label = best.new_tensor(list(labels), dtype=torch.int64)[
        torch.bucketize(best, bounds, right=True)
    ]
    if keep_best:
        label[(iou == iou.max(dim=1, keepdim=True).values).any(dim=0)] = 1
    return index, label


def sample(labels: Tensor, count: int, positive_fraction: float, background: int) -> Tensor:
    """Indices of at most ``count`` random boxes, positives first and at most their fraction.

    ``labels`` ``(R,)`` holds -1 (ignored), ``background``, or any other number (positive).
    """
    positive = torch.nonzero((labels != IGNORE) & (labels != background)).flatten()
    negative = torch.nonzero(labels == background).flatten()
    positives = min(len(positive), int(count * positive_fraction))
    negatives = min(len(negative), count - positives)
    return torch.cat([_choose(positive, positives), _choose(negative, negatives)])


def _choose(indices: Tensor, count: int) -> Tensor:
    return indices[torch.randperm(len(indices), device=indices.device)[:count]]
