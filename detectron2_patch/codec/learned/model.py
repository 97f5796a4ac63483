"""Transforms and entropy model together, in the detector's own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from detectron2_patch.codec.learned.entropy_model import EntropyModel
from detectron2_patch.codec.learned.network import (
    CODED,
    PyramidDecoder,
    PyramidEncoder,
    check_coded,
)
from detectron2_patch.codec.learned.recipe import Recipe


class PyramidModel(nn.Module):
    """Maps to latent to maps.

    Args:
        channels: of a level of the detector.
        recipe: widths, depth, groups, stride and finest level.
        levels: that are coded, finest first.

    Raises:
        InputError: levels that no codec carries.
    """

    def __init__(self, channels: int, recipe: Recipe, levels: Sequence[str] = CODED) -> None:
        super().__init__()
        check_coded(levels)
        self.levels = tuple(levels)
        sizes = (channels, recipe.widths, recipe.latent, recipe.depth, recipe.stride, levels)
        self.encoder = PyramidEncoder(*sizes, recipe.finest)
        self.decoder = PyramidDecoder(*sizes)
        self.entropy_model = EntropyModel(recipe.groups, recipe.context_width)
        for level in self.levels:
            self.register_buffer(f"mean_{level}", torch.zeros(channels, 1, 1))
            self.register_buffer(f"spread_{level}", torch.ones(1, 1, 1))

    def normalise(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each channel about 0, each level of spread 1."""
        return {
            level: (maps[level] - getattr(self, f"mean_{level}")) / getattr(self, f"spread_{level}")
            for level in self.levels
        }

    def restore_units(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What ``normalise`` was given."""
        return {
            level: maps[level] * getattr(self, f"spread_{level}") + getattr(self, f"mean_{level}")
            for level in self.levels
        }

    def set_units(self, pyramids: list[Mapping[str, Tensor]]) -> None:
        """Take means and spreads from maps ``(C, H, W)`` of some images."""
        for level in self.levels:
            mean = torch.stack([one[level].float().mean((1, 2)) for one in pyramids]).mean(0)
            square = [
                (one[level].float() - mean[:, None, None]).square().mean() for one in pyramids
            ]
            getattr(self, f"mean_{level}").copy_(mean[:, None, None])
            getattr(self, f"spread_{level}").fill_(float(torch.stack(square).mean().sqrt()))
