"""What the frozen heads make of decoded maps, against what they make of the clean ones.

No label is used: the clean maps' own logits, scores and boxes are the targets (Hinton et al.
2015). Squared error alone spends bits on what no head looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from detectron2_patch.rcnn.fpn import STRIDES
from detectron2_patch.rcnn.pooler import POOLED_LEVELS, pooled_level
from detectron2_patch.rcnn.structures import Proposals
from detectron2_patch.settings.levels import LEVELS

_BETA = 0.1  # where the smooth L1 of deltas turns from square to line
_FLOOR = 0.02  # weight of an anchor that the clean maps say holds nothing
_ROOM = 1.0  # expected objects added to a level's, lest an empty level's few weigh too much
# Samples of RoIAlign along a side of a bin, for clean and decoded maps alike. The detector takes as
# many as a bin has elements, whose gradient takes a quarter of a step's time on a CPU.
_SAMPLES = 2


@dataclass
class Target:
    """What the heads make of the clean maps of a batch of images.

    Attributes:
        rpn: level to logits ``(N, A)`` and deltas ``(N, A, 4)`` of all anchors.
        proposals: boxes ``(R, 4)`` of each image.
        logits: classes of all proposals ``(R, K + 1)``.
        deltas: ``(R, 4 K)`` or ``(R, 4)``.
    """

    rpn: dict[str, tuple[Tensor, Tensor]]
    proposals: list[Tensor]
    logits: Tensor
    deltas: Tensor


def with_p6(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """P2 to P5 and the P6 that the receiver makes of P5."""
    return {**maps, "p6": maps["p5"][..., ::2, ::2].contiguous()}


class Heads:
    """The heads of the built-in detector, frozen.

    Args:
        model: ``rcnn.model.FasterRCNN`` in evaluation mode.
        proposals: how many of an image's clean proposals the box head is asked about.
    """

    def __init__(self, model, proposals: int) -> None:
        self.rpn, self.roi, self.proposals = model.proposal_generator, model.roi_heads, proposals

    @torch.no_grad()
    def target(self, maps: Mapping[str, Tensor], size: tuple[int, int]) -> Target:
        """What the heads make of clean maps ``(N, C, H, W)`` of images of ``size``."""
        rpn = {level: self.rpn.rpn_head(maps[level]) for level in LEVELS}
        count = len(maps["p2"])
        levels = [self.rpn.select(n, maps[n], *rpn[n], [size] * count) for n in LEVELS]
        proposals = [self._best(parts) for parts in zip(*levels)]
        return Target(rpn, proposals, *self.box_head(maps, proposals))

    def _best(self, levels: tuple[Proposals, ...]) -> Tensor:
        return self.rpn.merge(levels).boxes[: self.proposals]

    def box_head(
        self, maps: Mapping[str, Tensor], proposals: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Class logits and deltas of the proposals."""
        numbered = [F.pad(boxes, (1, 0), value=n) for n, boxes in enumerate(proposals)]
        rois = torch.cat(numbered)
        levels = pooled_level(rois[:, 1:])
        parts, places = [], []
        for number, level in enumerate(POOLED_LEVELS):
            places.append(torch.nonzero(levels == number).flatten())
            parts.append(self._pool(maps[level].float(), rois[places[-1]], STRIDES[level]))
        pooled = torch.cat(parts)[torch.cat(places).argsort()]
        return self.roi.box_predictor(self.roi.box_head(pooled))

    def _pool(self, feature: Tensor, rois: Tensor, stride: int) -> Tensor:
        head = self.roi.head_cfg
        aligned = head.POOLER_TYPE == "ROIAlignV2"
        return roi_align(
            feature, rois, head.POOLER_RESOLUTION, 1 / stride, _SAMPLES, aligned=aligned
        )

    def losses(self, maps: Mapping[str, Tensor], target: Target) -> dict[str, Tensor]:
        """The four distances, each a mean that doesn't depend on the image's size."""
        found = [rpn_distance(self.rpn.rpn_head(maps[n]), target.rpn[n]) for n in LEVELS]
        objectness, anchors = (torch.stack(parts).mean() for parts in zip(*found))
        received = self.box_head(maps, target.proposals)
        classes, boxes = box_distance(received, (target.logits, target.deltas))
        return {
            "objectness": objectness,
            "anchors": anchors,
            "classes": classes,
            "boxes": boxes,
        }


def rpn_distance(
    received: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Of one level's logits ``(N, A)`` and deltas ``(N, A, 4)``: Kullback-Leibler divergence of the
    objectness, and smooth L1 of the deltas, each anchor weighted by its clean objectness."""
    (logits, deltas), (wanted, wanted_deltas) = received, target
    clean = torch.sigmoid(wanted)
    cross = F.binary_cross_entropy_with_logits(logits, clean, reduction="none")
    own = F.binary_cross_entropy_with_logits(wanted, clean, reduction="none")
    mass = clean.sum() + _ROOM * len(clean)
    error = F.smooth_l1_loss(deltas, wanted_deltas, beta=_BETA, reduction="none").sum(-1)
    return ((cross - own) * (clean + _FLOOR)).sum() / mass, (error * clean).sum() / mass


def box_distance(
    received: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Of the box head's class logits and deltas: Kullback-Leibler divergence of the classes, and
    smooth L1 of the deltas, each weighted by the clean probability of its class (of any object,
    where classes share deltas)."""
    (logits, deltas), (wanted, wanted_deltas) = received, target
    clean = F.softmax(wanted, dim=-1)
    classes = F.kl_div(F.log_softmax(logits, dim=-1), clean, reduction="sum")
    error = F.smooth_l1_loss(deltas, wanted_deltas, beta=_BETA, reduction="none")
    error = error.view(len(error), -1, 4).sum(-1)
    weight = clean[:, :-1] if error.shape[1] > 1 else 1 - clean[:, -1:]
    return classes / max(len(logits), 1), (error * weight).sum() / (weight.sum() + 1)
