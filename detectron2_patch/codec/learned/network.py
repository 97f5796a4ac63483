"""The transforms: P2 to P5 to one latent, at stride 16 if nothing else is asked for, and back.

The sizes of the levels follow from P2's alone, since every halving rounds up, as the detector's
own do; P6 is the subsample of P5, as in the detector.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CODED = ("p2", "p3", "p4", "p5")
AT_STRIDE = {8: "p3", 16: "p4", 32: "p5"}  # the level that the latent has the size of
SLOPE = 0.1  # of the leaky rectifier below zero


def activate(x: Tensor) -> Tensor:
    """The rectifier that all layers share."""
    return F.leaky_relu(x, SLOPE)


class Residual(nn.Module):
    """A bottleneck: 1x1 to half the channels, 3x3 back, added to what came."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, channels // 2, 1)
        self.wide = nn.Conv2d(channels // 2, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.wide(activate(self.narrow(activate(x))))


class Upsample(nn.Module):
    """Twice the height and width, by a 1x1 convolution and a pixel shuffle (Shi et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(inputs, 4 * outputs, 1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = F.pixel_shuffle(self.expand(activate(x)), 2)
        return x[..., : size[0], : size[1]]


class PyramidEncoder(nn.Module):
    """The normalised maps to the latent; each level joins where its stride is reached.

    Args:
        channels: of a level.
        widths: channels inside, at strides 4, 8 and 16.
        latent: channels of the latent.
        depth: residual blocks at stride 16.
        stride: of the latent, one of ``AT_STRIDE``.
        finest: the finest level that is read; "p2" or "p3".
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, int, int],
        latent: int,
        depth: int,
        stride: int = 16,
        finest: str = "p2",
    ) -> None:
        super().__init__()
        _, middle, wide = widths
        self.stride, self.finest = stride, finest
        if finest == "p2":
            self.from_p2 = nn.Conv2d(channels, middle, 3, stride=2, padding=1)
            self.refine_p3 = Residual(middle)
        else:
            middle = 0
        self.to_p4 = nn.Conv2d(middle + channels, wide, 3, stride=2, padding=1)
        self.from_p4 = nn.Conv2d(channels, wide, 1)
        self.from_p5 = nn.Conv2d(channels, wide, 1)
        self.body = nn.Sequential(*[Residual(wide) for _ in range(depth)])
        if stride == 8:
            self.to_latent: nn.Module = Upsample(wide, latent)
        else:
            self.to_latent = nn.Conv2d(wide, latent, 3, stride=stride // 16, padding=1)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Maps ``(N, C, H, W)`` of ``CODED`` to ``(N, latent, H, W)`` of the latent's size."""
        x = maps["p3"]
        if self.finest == "p2":
            finer = activate(self.refine_p3(self.from_p2(maps["p2"])))
            x = torch.cat([finer, x.to(finer.dtype)], dim=1)
        x = self.to_p4(x)
        x = x + self.from_p4(maps["p4"])
        coarse = F.interpolate(self.from_p5(maps["p5"]), scale_factor=2.0, mode="nearest")
        x = self.body(x + coarse[..., : x.shape[-2], : x.shape[-1]])
        if self.stride == 8:
            return self.to_latent(x, maps["p3"].shape[-2:])
        return self.to_latent(activate(x))


class PyramidDecoder(nn.Module):
    """The latent back to the normalised maps; the arguments are the encoder's."""

    def __init__(
        self,
        channels: int,
        widths: tuple[int, int, int],
        latent: int,
        depth: int,
        stride: int = 16,
    ) -> None:
        super().__init__()
        narrow, middle, wide = widths
        self.stride = stride
        if stride == 32:
            self.from_latent: nn.Module = Upsample(latent, wide)
        else:
            self.from_latent = nn.Conv2d(latent, wide, 3, stride=16 // stride, padding=1)
        self.body = nn.Sequential(*[Residual(wide) for _ in range(depth)])
        self.to_p5 = nn.Conv2d(wide, channels, 3, stride=2, padding=1)
        self.to_p4 = nn.Conv2d(wide, channels, 3, padding=1)
        self.up_to_p3 = Upsample(wide, middle)
        self.refine_p3 = nn.Sequential(Residual(middle), Residual(middle))
        self.to_p3 = nn.Conv2d(middle, channels, 3, padding=1)
        self.up_to_p2 = Upsample(middle, narrow)
        self.refine_p2 = Residual(narrow)
        self.to_p2 = nn.Conv2d(narrow, channels, 3, padding=1)

    def forward(self, latent: Tensor, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Tensor]:
        """The latent to maps of ``sizes``."""
        size = (sizes["p4"],) if self.stride == 32 else ()
        x = self.body(self.from_latent(latent, *size))
        coarse = activate(x)
        maps = {"p5": self.to_p5(coarse), "p4": self.to_p4(coarse)}
        x = self.refine_p3(self.up_to_p3(x, sizes["p3"]))
        maps["p3"] = self.to_p3(activate(x))
        x = self.refine_p2(self.up_to_p2(x, sizes["p2"]))
        maps["p2"] = self.to_p2(activate(x))
        return {level: maps[level] for level in CODED}
