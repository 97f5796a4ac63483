"""A missing map from others: pure tensors ``(N, C, h, w)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

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
