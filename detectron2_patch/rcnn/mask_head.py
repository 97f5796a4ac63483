"""The mask head (He et al. 2017): what of each detection's box is the object, and that in pixels of
the image. In detectron2's order of operations, so that the bits are the same."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2_patch.rcnn.layers import Conv, init_msra, init_normal
from detectron2_patch.rcnn.pooler import Pooler

INSIDE = 0.5  # the probability from which on a pixel is the object's


class MaskHead(nn.Module):
    """Convolutions ``mask_fcn1`` …, twice the resolution by ``deconv``, one mask a class.

    Args:
        cfg: the configuration's ``MODEL`` node.
    """

    def __init__(self, cfg) -> None:
        super().__init__()
        head, channels = cfg.ROI_MASK_HEAD, cfg.FPN.OUT_CHANNELS
        self.pooler = Pooler(head)
        for number in range(1, head.NUM_CONV + 1):
            conv = Conv(channels, head.CONV_DIM, 3, padding=1, norm=head.NORM)
            init_msra(conv)
            self.add_module(f"mask_fcn{number}", conv)
            channels = head.CONV_DIM
        self.deconv = nn.ConvTranspose2d(channels, head.CONV_DIM, 2, stride=2)
        init_msra(self.deconv)
        masks = 1 if head.CLS_AGNOSTIC_MASK else cfg.ROI_HEADS.NUM_CLASSES
        self.predictor = nn.Conv2d(head.CONV_DIM, masks, 1)
        init_normal(self.predictor, 0.001)

    def forward(self, pooled: Tensor, classes: Tensor) -> Tensor:
        """Probabilities ``(R, 2 S, 2 S)`` that a place of the box is the object's, for boxes pooled
        ``(R, C, S, S)`` and their classes ``(R,)``."""
        for name, layer in self.named_children():
            if name.startswith("mask_fcn"):
                pooled = F.relu(layer(pooled))
        logits = self.predictor(F.relu(self.deconv(pooled))).float()
        if logits.shape[1] == 1:
            return logits[:, 0].sigmoid()
        return logits[torch.arange(len(logits), device=logits.device), classes].sigmoid()


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """Each mask ``(M, M)`` of ``masks`` ``(R, M, M)`` stretched over its box of ``(R, 4)`` in an
    image of ``(height, width)``: ``(height, width)`` bool, one after the other, since all together
    may be larger than the memory."""
    height, width = size
    for mask, box in zip(masks, boxes):
        x0, y0 = ((side.floor() - 1).clamp(min=0).int() for side in box[:2])
        x1 = (box[2].ceil() + 1).clamp(max=width).int()
        y1 = (box[3].ceil() + 1).clamp(max=height).int()
        x, y = (
            (torch.arange(start, end, device=box.device, dtype=torch.float32) + 0.5 - low)
            / (high - low)
            * 2
            - 1
            for start, end, low, high in ((x0, x1, box[0], box[2]), (y0, y1, box[1], box[3]))
        )
        grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=2)
        placed = F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
        pasted = torch.zeros(height, width, dtype=torch.bool, device=mask.device)
        pasted[y0:y1, x0:x1] = placed >= INSIDE
        yield pasted
