"""Uniform quantisation of one map: values to indices of 2 to 256 steps, and back.

A range is a pair of float32 vectors ``(lo, hi)`` on the CPU, of one value for the whole map or of
one a channel. Index 0 stands for ``lo``, the last of the 2**bits indices for ``hi``, and one step
is ``(hi - lo) / (2**bits - 1)``. Steps are computed in float64: two float32 can lie further apart
than float32 reaches.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.errors import InputError

BITS = range(1, 9)
Range = tuple[Tensor, Tensor]


def measure_range(x: Tensor, per_channel: bool) -> Range:
    """The smallest and the largest value of a map ``(C, h, w)``, over all or a channel.

    Raises:
        ValueError: the map is empty.
        InputError: a value is NaN or infinite.
    """
    check_map(x)
    lo, hi = torch.aminmax(x.reshape(len(x) if per_channel else 1, -1), dim=1)
    return lo.detach().float().cpu(), hi.detach().float().cpu()


def with_zero(ends: Range, bits: int) -> Range:
    """The narrowest wider range that has 0 on one of its steps, where it holds 0 inside.

    What is weak then has one index, where it would flicker between the two around 0: the steps
    grow a little and the bytes shrink far more (`benchmarks/coding.py`). To be used on a fitted
    range as well. One bit has no step between its ends and keeps its range.
    """
    lo, hi = (end.double() for end in ends)
    steps = 2**bits - 1
    below = torch.arange(1, steps, dtype=torch.float64)[:, None]  # steps from lo to 0, to try
    if not len(below):
        return ends
    step, best = torch.maximum(-lo / below, hi / (steps - below)).min(0)
    below = best + 1.0
    low, high = (-below * step).float(), ((steps - below) * step).float()
    fits = (lo < 0) & (hi > 0) & torch.isfinite(low) & torch.isfinite(high)
    return torch.where(fits, low, ends[0]), torch.where(fits, high, ends[1])


def to_half(ends: Range) -> Range | None:
    """The range widened to float16's values, as float32; ``None`` where that costs too much.

    Too much is a 64th of a channel's range, or, where a channel is constant, a 64th of the widest
    one's.
    """
    lo, hi = (end.numpy() for end in ends)
    with np.errstate(over="ignore"):
        low, high = lo.astype(np.float16), hi.astype(np.float16)
    low = np.where(low > lo, np.nextafter(low, np.float16(-np.inf)), low).astype(np.float64)
    high = np.where(high < hi, np.nextafter(high, np.float16(np.inf)), high).astype(np.float64)
    width = hi.astype(np.float64) - lo
    allowed = np.where(width > 0, width, width.max()) / 64
    if not (np.isfinite(low) & np.isfinite(high)).all() or ((high - low) - width > allowed).any():
        return None
    return torch.from_numpy(low).float(), torch.from_numpy(high).float()


def check_map(x: Tensor) -> None:
    """Refuse what can't be a map: not ``(C, h, w)``, empty, NaN, infinite.

    Raises:
        ValueError: one of these.
    """
    if x.dim() != 3 or not x.numel() or not x.is_floating_point():
        raise ValueError(f"a map is (C, h, w) of floats, not {x.dtype} {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise InputError(
            "the model's maps are broken, a value is NaN or infinite; check its weights"
        )


def check_range(given: Range, channels: int, per_channel: bool) -> Range:
    """A given range as float32 on the CPU.

    Raises:
        ValueError: of another length, not finite, or ``lo`` above ``hi``.
    """
    lo, hi = (torch.as_tensor(end, dtype=torch.float32, device="cpu").reshape(-1) for end in given)
    length = channels if per_channel else 1
    if len(lo) != length or len(hi) != length:
        raise ValueError(f"a range of {len(lo)} and {len(hi)} values, where {length} are needed")
    if not (torch.isfinite(lo) & torch.isfinite(hi) & (lo <= hi)).all():
        raise ValueError("a range has to be finite, its low end not above its high end")
    return lo, hi


def quantise(x: Tensor, ends: Range, bits: int) -> Tensor:
    """Indices, uint8 ``(C, h, w)`` on the device of ``x``; what lies outside is clipped."""
    lo, hi = (end.to(x.device, torch.float64)[:, None, None] for end in ends)
    steps = 2**bits - 1
    width = hi - lo
    scale = torch.where(width > 0, steps / width, 0.0)  # a constant has index 0 everywhere
    return ((x.double() - lo) * scale).round_().clamp_(0, steps).to(torch.uint8)


def dequantise(indices: Tensor, ends: Range, bits: int) -> Tensor:
    """The values that ``indices`` stand for, float32 on their device.

    They are looked up in a table made on the CPU, so that every device decodes the same values.
    """
    lo, hi = (end.double()[:, None] for end in ends)
    steps = 2**bits - 1
    table = (lo + (hi - lo) * torch.arange(steps + 1, dtype=torch.float64) / steps).float()
    table = table.to(indices.device)
    if len(table) == 1:
        return table[0][indices.int()]
    return table.gather(1, indices.flatten(1).long()).reshape(indices.shape)
