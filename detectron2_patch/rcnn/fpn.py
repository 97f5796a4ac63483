"""Feature pyramid network (Lin et al. 2017): res2 … res5 to P2 … P6."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2_patch.rcnn.layers import Conv, init_xavier
from detectron2_patch.rcnn.resnet import ResNet
from detectron2_patch.settings.levels import LEVELS

STRIDES = dict(zip(LEVELS, (4, 8, 16, 32, 64)))


class FPN(nn.Module):
    """The backbone: an image ``(N, 3, H, W)`` to the pyramid, ``(N, C, H / stride, W / stride)``.

    P6 is P5 subsampled by two, as the backbone makes it; nothing is learned there.

    Args:
        bottom_up: the ResNet.
        fpn: the configuration's ``MODEL.FPN``.
    """

    size_divisibility = 32

    def __init__(self, bottom_up: ResNet, fpn) -> None:
        super().__init__()
        self.bottom_up = bottom_up
        self.average = fpn.FUSE_TYPE == "avg"
        for stage, channels in enumerate(bottom_up.out_channels, start=2):
            lateral = Conv(channels, fpn.OUT_CHANNELS, 1, norm=fpn.NORM)
            output = Conv(fpn.OUT_CHANNELS, fpn.OUT_CHANNELS, 3, padding=1, norm=fpn.NORM)
            self.add_module(f"fpn_lateral{stage}", lateral)
            self.add_module(f"fpn_output{stage}", output)
            init_xavier(lateral)
            init_xavier(output)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        pyramid, above = {}, None
        for stage, bottom in reversed(list(enumerate(self.bottom_up(x), start=2))):
            merged = getattr(self, f"fpn_lateral{stage}")(bottom)
            if above is not None:
                merged = merged + F.interpolate(above, scale_factor=2.0, mode="nearest")
                if self.average:
                    merged /= 2
            above = merged
            pyramid[f"p{stage}"] = getattr(self, f"fpn_output{stage}")(merged)
        pyramid["p6"] = F.max_pool2d(pyramid["p5"], kernel_size=1, stride=2, padding=0)
        return {level: pyramid[level] for level in LEVELS}
