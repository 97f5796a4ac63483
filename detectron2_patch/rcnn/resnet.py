"""ResNet and ResNeXt (He et al. 2016, Xie et al. 2017), as detectron2 lays them out."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2_patch.rcnn.layers import Conv, freeze, init_msra

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGES = ("res2", "res3", "res4", "res5")


class Stem(nn.Module):
    """7x7 convolution and max pooling: stride 4."""

    def __init__(self, out_channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = Conv(3, out_channels, 7, stride=2, padding=3, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class Block(nn.Module):
    """A residual block; subclasses define ``residual``."""

    residual: Callable[[Tensor], Tensor]

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: str) -> None:
        super().__init__()
        self.shortcut = None
        if in_channels != out_channels:
            self.shortcut = Conv(in_channels, out_channels, 1, stride=stride, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        out = self.residual(x)
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class BasicBlock(Block):
    """Two 3x3 convolutions: ResNet 18 and 34."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: str) -> None:
        super().__init__(in_channels, out_channels, stride, norm)
        self.conv1 = Conv(in_channels, out_channels, 3, stride=stride, padding=1, norm=norm)
        self.conv2 = Conv(out_channels, out_channels, 3, padding=1, norm=norm)

    def residual(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu_(self.conv1(x)))


class Bottleneck(Block):
    """1x1, 3x3, 1x1. The caffe models stride in the first 1x1, ResNeXt in the 3x3."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        norm: str,
        *,
        width: int,
        groups: int,
        stride_in_1x1: bool,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, norm)
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = Conv(in_channels, width, 1, stride=first, norm=norm)
        self.conv2 = Conv(width, width, 3, stride=second, padding=1, groups=groups, norm=norm)
        self.conv3 = Conv(width, out_channels, 1, norm=norm)

    def residual(self, x: Tensor) -> Tensor:
        return self.conv3(F.relu_(self.conv2(F.relu_(self.conv1(x)))))


class ResNet(nn.Module):
    """The bottom-up pathway: an image ``(N, 3, H, W)`` to the maps res2 … res5.

    Args:
        resnets: the configuration's ``MODEL.RESNETS``.
        freeze_at: ``MODEL.BACKBONE.FREEZE_AT``: how many of stem, res2 … res5 don't train.
    """

    def __init__(self, resnets, freeze_at: int) -> None:
        super().__init__()
        self.stem = Stem(resnets.STEM_OUT_CHANNELS, resnets.NORM)
        in_channels = resnets.STEM_OUT_CHANNELS
        self.out_channels = []
        for index, (name, depth) in enumerate(zip(STAGES, BLOCKS[resnets.DEPTH])):
            out_channels = resnets.RES2_OUT_CHANNELS << index
            blocks = []
            for number in range(depth):
                stride = 2 if index > 0 and number == 0 else 1
                blocks.append(_block(resnets, index, in_channels, out_channels, stride))
                in_channels = out_channels
            self.add_module(name, nn.Sequential(*blocks))
            self.out_channels.append(out_channels)
        for module in self.modules():
            if isinstance(module, Conv):
                init_msra(module)
        for part in [self.stem, *(getattr(self, name) for name in STAGES)][:freeze_at]:
            freeze(part)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        return [x := getattr(self, name)(x) for name in STAGES]


def _block(resnets, index: int, in_channels: int, out_channels: int, stride: int) -> Block:
    if resnets.DEPTH < 50:
        return BasicBlock(in_channels, out_channels, stride, resnets.NORM)
    return Bottleneck(
        in_channels,
        out_channels,
        stride,
        resnets.NORM,
        width=(resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP) << index,
        groups=resnets.NUM_GROUPS,
        stride_in_1x1=resnets.STRIDE_IN_1X1,
    )
