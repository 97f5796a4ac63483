"""The whole detector: an image in, detections in the image's own pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from detectron2_patch.rcnn import boxes as box
from detectron2_patch.rcnn.fpn import FPN
from detectron2_patch.rcnn.resnet import ResNet
from detectron2_patch.rcnn.roi_heads import ROIHeads
from detectron2_patch.rcnn.rpn import RPN
from detectron2_patch.rcnn.structures import Detections, ImageBatch, Targets


class FasterRCNN(nn.Module):
    """Faster or Mask R-CNN with FPN, its parts named as in detectron2's ``GeneralizedRCNN``.

    Args:
        cfg: the whole configuration; see ``config.support`` for the keys that are honoured.
        backbone: what stands in its place, where the maps come from elsewhere.
        heads: whether there are any; without, only ``preprocess`` and ``backbone`` work.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, cfg, backbone: Any = None, heads: bool = True) -> None:
        super().__init__()
        model = cfg.MODEL
        self.backbone = backbone or FPN(ResNet(model.RESNETS, model.BACKBONE.FREEZE_AT), model.FPN)
        if heads:
            self.proposal_generator = RPN(model)
            self.roi_heads = ROIHeads(model, cfg.TEST.DETECTIONS_PER_IMAGE)
        for name in ("pixel_mean", "pixel_std"):
            value = torch.tensor(getattr(model, name.upper())).view(-1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def preprocess(self, images: Sequence[Tensor]) -> ImageBatch:
        """Move ``(3, H, W)`` images to the device, normalise, pad and stack them."""
        normalised = [
            (x.to(self.device).float() - self.pixel_mean) / self.pixel_std for x in images
        ]
        return ImageBatch.stack(normalised, self.backbone.size_divisibility)

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Targets] | None = None
    ) -> list[Detections] | dict[str, Tensor]:
        """Detections in pixels of the network's input, or, when training, the losses."""
        batch = self.preprocess(images)
        features = self.backbone(batch.tensor)
        proposals, rpn_losses = self.proposal_generator(batch, features, targets)
        detections, losses = self.roi_heads(batch, features, proposals, targets)
        return {**rpn_losses, **losses} if self.training else detections


def to_image(
    detections: Detections, network_size: tuple[int, int], image_size: tuple[int, int]
) -> Detections:
    """Detections scaled from the network's pixels to the image's, clipped, empty ones dropped.

    Sizes are ``(height, width)``.
    """
    boxes = box.to_image(detections.boxes, network_size, image_size)
    scaled = replace(detections, boxes=boxes)
    return scaled[box.larger_than(boxes, 0)]
