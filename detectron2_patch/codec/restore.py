"""A missing map from others: pure tensors ``(N, C, h, w)``, and the restorers that words name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2_patch.codec.fitted import Fitted, need
from detectron2_patch.settings.codecs import Restorer

Size = tuple[int, int]


def resample(feature: Tensor, size: Size) -> Tensor:
    """Stretch or shrink bilinearly, without antialiasing, as the origin does."""
    if feature.shape[-2:] == torch.Size(size):
        return feature
    return F.interpolate(feature, size, mode="bilinear")


def mix(features: Sequence[Tensor], weights: Sequence[float], size: Size) -> Tensor:
    """The sum of resampled maps, each times its weight."""
    first, *others = (w * resample(x, size) for x, w in zip(features, weights, strict=True))
    return sum(others, start=first)


def subsample(feature: Tensor) -> Tensor:
    """Every second row and column, from the first: P6 of P5, as detectron2's FPN makes it."""
    return feature[..., ::2, ::2].contiguous()


def regressors(features: Sequence[Tensor], size: Size) -> Tensor:
    """``(N, S C, h, w)``: the maps that a fitted restorer weighs, at the size of the missing one.

    Coarser maps are stretched bilinearly. Finer ones are averaged over areas: unlike a bilinear
    sample, that loses no element of theirs.
    """
    h, w = size
    return torch.cat(
        [
            resample(x, size)
            if x.shape[-2] <= h and x.shape[-1] <= w
            else F.adaptive_avg_pool2d(x, size)
            for x in features
        ],
        dim=1,
    )


def linear(features: Sequence[Tensor], weight: Tensor, bias: Tensor, size: Size) -> Tensor:
    """A fitted linear map of the ``regressors``: a convolution with borders repeated.

    Of each image by itself, so that it rounds alike in any batch.

    Args:
        weight: ``(C, S C, k, k)``, k odd.
        bias: ``(C,)``.
    """
    border = weight.shape[-1] // 2
    padded = pad(regressors(features, size), border)
    return torch.cat([F.conv2d(one[None], weight, bias) for one in padded])


def pad(feature: Tensor, border: int) -> Tensor:
    """Repeat the outermost elements ``border`` times."""
    return F.pad(feature, (border,) * 4, mode="replicate") if border else feature


class _OneSource(Restorer):
    """The one source, resampled bilinearly."""

    def restore(
        self,
        level: str,
        sources: Mapping[str, Tensor],
        size: Size,
        weights: Sequence[float],
        fitted: Fitted | None,
    ) -> Tensor:
        (source,) = sources.values()
        return resample(source, size)


class Finer(_OneSource):
    """From the nearest finer level."""

    name = "finer"


class Coarser(_OneSource):
    """From the nearest coarser level."""

    name = "coarser"


class Mix(Restorer):
    """The weighted sum of the nearest finer and the nearest coarser level."""

    name = "mix"

    def restore(
        self,
        level: str,
        sources: Mapping[str, Tensor],
        size: Size,
        weights: Sequence[float],
        fitted: Fitted | None,
    ) -> Tensor:
        return mix(list(sources.values()), weights, size)


class Subsample(Restorer):
    """P6 of P5, as the backbone makes it."""

    name = "subsample"

    def restore(
        self,
        level: str,
        sources: Mapping[str, Tensor],
        size: Size,
        weights: Sequence[float],
        fitted: Fitted | None,
    ) -> Tensor:
        (source,) = sources.values()
        return subsample(source)


class Fit(Restorer):
    """The fitted linear map of all levels that are sent."""

    name = "fit"
    uses_fit = True

    def restore(
        self,
        level: str,
        sources: Mapping[str, Tensor],
        size: Size,
        weights: Sequence[float],
        fitted: Fitted | None,
    ) -> Tensor:
        maps = list(sources.values())
        return linear(maps, *need(fitted).restorer(level, list(sources), maps[0].device), size)

    def side_bytes(self, level: str, sources: Sequence[str], fitted: Fitted | None) -> int:
        weight, bias = need(fitted).restorer(level, sources, torch.device("cpu"))
        return 4 * (weight.numel() + bias.numel())
