"""The transforms: a pyramid to one latent, at stride 16 if nothing else is asked for, and back.

The sizes of the levels follow from the finest one's alone, since every halving rounds up, as the
detector's own do. A level that is a subsample of another (P6 of P5 in an R-CNN) isn't coded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS, span, wire_levels

Size = tuple[int, int]
CODED = wire_levels(LEVELS)  # of most detectors
STRIDES = (8, 16, 32)  # that a latent may have
SLOPE = 0.1  # of the leaky rectifier below zero


def check_coded(levels: Sequence[str]) -> None:
    """Make sure that the transforms, which meet at stride 16, can carry these levels.

    Raises:
        InputError: they don't begin at P2 or P3, or end before P4.
    """
    if levels[0] not in ("p2", "p3") or "p4" not in levels:
        raise InputError(
            f"a learned codec carries pyramids from P2 or P3 to P4 or beyond, and this detector "
            f"has {span(levels)}; code its levels one by one"
        )


def latent_size(stride: int, sizes: Mapping[str, Size]) -> Size:
    """Height and width of a latent of ``stride``."""
    height, width = sizes["p3" if stride == 8 else "p4"]
    return (-(-height // 2), -(-width // 2)) if stride == 32 else (height, width)


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
        stride: of the latent, one of ``STRIDES``.
        levels: that are coded, finest first; see ``check_coded``.
        finest: the finest level that is read, "p2" or "p3"; "p3" where there is no P2.
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, int, int],
        latent: int,
        depth: int,
        stride: int,
        levels: Sequence[str],
        finest: str,
    ) -> None:
        super().__init__()
        _, middle, wide = widths
        self.stride, self.reads_p2 = stride, finest == "p2" and "p2" in levels
        if self.reads_p2:
            self.from_p2 = nn.Conv2d(channels, middle, 3, stride=2, padding=1)
            self.refine_p3 = Residual(middle)
        else:
            middle = 0
        self.to_p4 = nn.Conv2d(middle + channels, wide, 3, stride=2, padding=1)
        self.from_p4 = nn.Conv2d(channels, wide, 1)
        self.coarser = [level for level in levels if level > "p4"]
        for level in self.coarser:
            setattr(self, f"from_{level}", nn.Conv2d(channels, wide, 1))
        self.body = nn.Sequential(*[Residual(wide) for _ in range(depth)])
        if stride == 8:
            self.to_latent: nn.Module = Upsample(wide, latent)
        else:
            self.to_latent = nn.Conv2d(wide, latent, 3, stride=stride // 16, padding=1)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Maps ``(N, C, H, W)`` of the coded levels to ``(N, latent, H, W)``."""
        x = maps["p3"]
        if self.reads_p2:
            finer = activate(self.refine_p3(self.from_p2(maps["p2"])))
            x = torch.cat([finer, x.to(finer.dtype)], dim=1)
        x = self.to_p4(x)
        x = x + self.from_p4(maps["p4"])
        for place, level in enumerate(self.coarser, 1):
            coarse = getattr(self, f"from_{level}")(maps[level])
            coarse = F.interpolate(coarse, scale_factor=2.0**place, mode="nearest")
            x = x + coarse[..., : x.shape[-2], : x.shape[-1]]
        x = self.body(x)
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
        stride: int,
        levels: Sequence[str],
    ) -> None:
        super().__init__()
        narrow, middle, wide = widths
        self.stride, self.levels = stride, tuple(levels)
        if stride == 32:
            self.from_latent: nn.Module = Upsample(latent, wide)
        else:
            self.from_latent = nn.Conv2d(latent, wide, 3, stride=16 // stride, padding=1)
        self.body = nn.Sequential(*[Residual(wide) for _ in range(depth)])
        self.coarser = [level for level in levels if level > "p4"]
        for level in self.coarser:
            setattr(self, f"to_{level}", nn.Conv2d(wide, channels, 3, stride=2, padding=1))
        for level in self.coarser[:-1]:  # the way on to the next
            setattr(self, f"down_{level}", nn.Conv2d(wide, wide, 3, stride=2, padding=1))
        self.to_p4 = nn.Conv2d(wide, channels, 3, padding=1)
        self.up_to_p3 = Upsample(wide, middle)
        self.refine_p3 = nn.Sequential(Residual(middle), Residual(middle))
        self.to_p3 = nn.Conv2d(middle, channels, 3, padding=1)
        if "p2" in levels:
            self.up_to_p2 = Upsample(middle, narrow)
            self.refine_p2 = Residual(narrow)
            self.to_p2 = nn.Conv2d(narrow, channels, 3, padding=1)

    def forward(self, latent: Tensor, sizes: Mapping[str, Size]) -> dict[str, Tensor]:
        """The latent to maps of ``sizes``."""
        size = (sizes["p4"],) if self.stride == 32 else ()
        x = self.body(self.from_latent(latent, *size))
        coarse = activate(x)
        maps = {"p4": self.to_p4(coarse)}
        for level in self.coarser:
            maps[level] = getattr(self, f"to_{level}")(coarse)
            if level != self.coarser[-1]:
                coarse = activate(getattr(self, f"down_{level}")(coarse))
        x = self.refine_p3(self.up_to_p3(x, sizes["p3"]))
        maps["p3"] = self.to_p3(activate(x))
        if "p2" in self.levels:
            x = self.refine_p2(self.up_to_p2(x, sizes["p2"]))
            maps["p2"] = self.to_p2(activate(x))
        return {level: maps[level] for level in self.levels}
