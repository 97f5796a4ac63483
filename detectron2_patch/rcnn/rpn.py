"""Region proposal network (Ren et al. 2015) on a pyramid, level by level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import nms

from detectron2_patch.rcnn import boxes as box
from detectron2_patch.rcnn.anchors import Anchors
from detectron2_patch.rcnn.layers import init_normal
from detectron2_patch.rcnn.matching import match, sample
from detectron2_patch.rcnn.structures import ImageBatch, Proposals, Targets
from detectron2_patch.settings.levels import LEVELS


class RPNHead(nn.Module):
    """One 3x3 convolution, shared by all levels, then objectness and deltas by 1x1."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness_logits = nn.Conv2d(channels, anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, anchors * 4, 1)
        for layer in (self.conv, self.objectness_logits, self.anchor_deltas):
            init_normal(layer, 0.01)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """A map ``(N, C, H, W)`` to logits ``(N, H W A)`` and deltas ``(N, H W A, 4)``."""
        hidden = F.relu(self.conv(feature))
        # float: in a training with mixed precision, boxes need all their digits
        logits = self.objectness_logits(hidden).float()
        deltas = self.anchor_deltas(hidden).float()
        n, _, h, w = deltas.shape
        return (
            logits.permute(0, 2, 3, 1).flatten(1),  # (N, A, H, W) -> (N, H W A)
            deltas.view(n, -1, 4, h, w).permute(0, 3, 4, 1, 2).flatten(1, -2),
        )


class RPN(nn.Module):
    """Proposals from the five levels; each level alone until the final merge.

    Args:
        cfg: the configuration's ``MODEL`` node.
    """

    def __init__(self, cfg) -> None:
        super().__init__()
        self.cfg = cfg.RPN
        self.min_size = float(cfg.PROPOSAL_GENERATOR.MIN_SIZE)
        self.anchors = Anchors(cfg.ANCHOR_GENERATOR)
        self.rpn_head = RPNHead(cfg.FPN.OUT_CHANNELS, self.anchors.per_location)

    def forward(
        self,
        images: ImageBatch,
        features: dict[str, Tensor],
        targets: Sequence[Targets] | None = None,
    ) -> tuple[list[Proposals], dict[str, Tensor]]:
        """Proposals of each image and, when training, the losses of the head."""
        outputs = {level: self.rpn_head(features[level]) for level in LEVELS}
        losses = {}
        if self.training:
            assert targets is not None
            losses = self.losses(features, outputs, targets)
        with torch.no_grad():
            levels = [
                self.select(level, features[level], logits, deltas, images.image_sizes)
                for level, (logits, deltas) in outputs.items()
            ]
        return [self.merge(parts) for parts in zip(*levels)], losses

    def level_proposals(
        self, level: str, feature: Tensor, image_sizes: Sequence[tuple[int, int]]
    ) -> list[Proposals]:
        """Proposals that one level gives for each image, after its own NMS."""
        logits, deltas = self.rpn_head(feature)
        return self.select(level, feature, logits, deltas, image_sizes)

    def select(
        self,
        level: str,
        feature: Tensor,
        logits: Tensor,
        deltas: Tensor,
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Proposals]:
        """Top-k by logit, decode, clip, drop small boxes, NMS: one level, each image.

        Ranked by logit: a sigmoid saturates to ties and would reorder them.
        """
        topk = self.cfg.PRE_NMS_TOPK_TRAIN if self.training else self.cfg.PRE_NMS_TOPK_TEST
        anchors = self.anchors.level(level, feature)
        logits, index = logits.topk(min(topk, logits.shape[1]), dim=1)
        return [
            self._select_one(size, anchors[index[n]], logits[n], deltas[n, index[n]])
            for n, size in enumerate(image_sizes)
        ]

    def _select_one(
        self, image_size: tuple[int, int], anchors: Tensor, logits: Tensor, deltas: Tensor
    ) -> Proposals:
        boxes = box.decode(deltas, anchors, self.cfg.BBOX_REG_WEIGHTS)
        finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(logits)
        boxes = box.clip(boxes, image_size)
        valid = finite & box.larger_than(boxes, self.min_size)
        boxes, logits = boxes[valid], logits[valid]
        keep = nms(boxes, logits, self.cfg.NMS_THRESH)
        return Proposals(boxes[keep], logits[keep])

    def merge(self, levels: Sequence[Proposals]) -> Proposals:
        """The best of the levels' proposals of one image; ties by level, then by rank."""
        cfg = self.cfg
        topk = cfg.POST_NMS_TOPK_TRAIN if self.training else cfg.POST_NMS_TOPK_TEST
        boxes = torch.cat([part.boxes for part in levels])
        logits = torch.cat([part.logits for part in levels])
        order = torch.sort(logits, descending=True, stable=True).indices[:topk]
        return Proposals(boxes[order], logits[order])

    def losses(
        self,
        features: dict[str, Tensor],
        outputs: dict[str, tuple[Tensor, Tensor]],
        targets: Sequence[Targets],
    ) -> dict[str, Tensor]:
        """Objectness (binary cross entropy) and smooth L1 of the sampled anchors."""
        cfg = self.cfg
        anchors = torch.cat([self.anchors.level(level, features[level]) for level in LEVELS])
        logits = torch.cat([outputs[level][0] for level in LEVELS], dim=1)
        deltas = torch.cat([outputs[level][1] for level in LEVELS], dim=1)
        objectness, location = logits.sum() * 0, deltas.sum() * 0
        for n, target in enumerate(targets):
            index, label = match(
                anchors, target.boxes, cfg.IOU_THRESHOLDS, cfg.IOU_LABELS, keep_best=True
            )
            chosen = sample(label, cfg.BATCH_SIZE_PER_IMAGE, cfg.POSITIVE_FRACTION, background=0)
            objectness = objectness + F.binary_cross_entropy_with_logits(
                logits[n, chosen], label[chosen].float(), reduction="sum"
            )
            positive = chosen[label[chosen] == 1]
            if len(positive):
                wanted = box.encode(
                    anchors[positive], target.boxes[index[positive]], cfg.BBOX_REG_WEIGHTS
                )
                location = location + smooth_l1(deltas[n, positive], wanted, cfg.SMOOTH_L1_BETA)
        normalizer = cfg.BATCH_SIZE_PER_IMAGE * len(targets)
        return {
            "loss_rpn_cls": objectness / normalizer * cfg.LOSS_WEIGHT,
            "loss_rpn_loc": location / normalizer * cfg.BBOX_REG_LOSS_WEIGHT * cfg.LOSS_WEIGHT,
        }


def smooth_l1(deltas: Tensor, wanted: Tensor, beta: float) -> Tensor:
    """Summed smooth L1 (Girshick 2015); ``beta`` 0 is plain L1."""
    return F.smooth_l1_loss(deltas, wanted, beta=beta, reduction="sum")
