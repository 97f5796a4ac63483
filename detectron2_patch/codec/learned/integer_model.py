"""The entropy model's networks in integers: one mean and one scale on every machine.

Weights and activations are whole numbers (Ballé, Johnston and Minnen 2019), held in float64 and
multiplied as matrices. All sums stay below 2**53, so that they are exact in whatever order, on
whatever number of threads, a machine adds them up. Rounded from a trained network after its
training: at 16 bits nothing is lost that could be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from detectron2_patch.codec.learned.entropy_model import LOG_SCALE, EntropyModel, checkerboard
from detectron2_patch.codec.learned.network import SLOPE
from detectron2_patch.errors import InputError

UNIT = 1024  # an activation of 1
_WEIGHT_UNIT = 4096  # a weight of 1
_LARGEST = 2.0**20  # what activations are clipped to
_SLOPE = round(SLOPE * UNIT)
_STEP = 64  # of a row of the tables, in units of the log scale
_LOWEST = round(LOG_SCALE[0] * UNIT)
ROWS = round((LOG_SCALE[1] - LOG_SCALE[0]) * UNIT) // _STEP  # of the tables
LAYERS = ("look", "mix", "give")


def row_scales() -> np.ndarray:
    """The scale in the middle of each row of the tables, ``(ROWS,)``."""
    return np.exp((_LOWEST + _STEP * (np.arange(ROWS) + 0.5)) / UNIT)


class Half(NamedTuple):
    """What is coded at once: half of the places of a group's channels.

    Attributes:
        channels: of the latent.
        places: flat positions ``(n,)`` in a channel.
        means: ``(n, channels)`` whole numbers of ``1 / UNIT``, float64.
        rows: ``(n, channels)`` of the tables, int64.
    """

    channels: slice
    places: Tensor
    means: Tensor
    rows: Tensor


def quantise(model: EntropyModel) -> dict[str, Tensor]:
    """The weights (int16) and biases (int64) of a trained model's networks as whole numbers.

    Raises:
        InputError: a weight is too large for 16 bits.
    """
    found = {}
    for group, context in enumerate(model.contexts):
        for layer in LAYERS:
            convolution = getattr(context, layer)
            weight = torch.round(convolution.weight.double() * _WEIGHT_UNIT)
            if not weight.abs().max() < 2**15:  # so that NaN is refused too
                raise InputError(
                    "a weight of the entropy model is too large for 16 bits; train with a "
                    "lower learning rate"
                )
            bias = torch.round(convolution.bias.double() * _WEIGHT_UNIT * UNIT)
            found[f"{group}.{layer}.weight"] = weight.to(torch.int16)
            found[f"{group}.{layer}.bias"] = bias.to(torch.int64)
    return found


@torch.no_grad()
def restore(model: EntropyModel, tensors: Mapping[str, Tensor]) -> None:
    """Give the networks of a model the weights that ``quantise`` made, to be trained on."""
    for group, context in enumerate(model.contexts):
        for layer in LAYERS:
            convolution = getattr(context, layer)
            convolution.weight.copy_(tensors[f"{group}.{layer}.weight"] / _WEIGHT_UNIT)
            convolution.bias.copy_(tensors[f"{group}.{layer}.bias"] / (_WEIGHT_UNIT * UNIT))


class IntegerModel:
    """The networks of all groups, on the CPU.

    Args:
        groups: channels of each group.
        tensors: what ``quantise`` gave.
    """

    def __init__(self, groups: Sequence[int], tensors: Mapping[str, Tensor]) -> None:
        self.groups = tuple(groups)
        starts = [0, *accumulate(self.groups)]
        self.contexts = [
            _Context(before, own, _read_layers(tensors, group))
            for group, (before, own) in enumerate(zip(starts, self.groups))
        ]

    def walk(self, size: tuple[int, int], symbols_of: Callable[[Half], Tensor]) -> Tensor:
        """Go through a latent half by half.

        Args:
            size: height and width of the latent.
            symbols_of: gives the symbols of a half ``(n, channels)``: what lies between the values
                and their means, in whole steps.

        Returns:
            the latent as the receiver has it, ``(C, h, w)``, float64, exact.
        """
        grid = _grid(*size)
        # a place a row, so that neighbours are gathered in rows; the last is what lies outside
        received = torch.zeros(grid.area + 1, sum(self.groups), dtype=torch.float64)
        start = 0
        for context in self.contexts:
            channels = slice(start, start + context.own)
            seen = context.look_before(received[:, :start], grid)
            for known, places in enumerate(grid.halves):
                if len(places):
                    own = received[:, channels] if known else None
                    half = Half(channels, places, *context.predict(seen, own, grid, places))
                    steps = symbols_of(half).to(torch.float64) * UNIT
                    values = (half.means + steps).clamp(-_LARGEST, _LARGEST)
                    received[places, channels] = values
            start = channels.stop
        return (received[:-1] / UNIT).T.reshape(-1, *size)


class _Grid(NamedTuple):
    """The places of a latent of some size."""

    area: int
    neighbours: Tensor  # (area, 9): flat positions, row by row; ``area`` where there is none
    halves: tuple[Tensor, Tensor]  # flat positions of the checkerboard's halves


@lru_cache(maxsize=32)
def _grid(height: int, width: int) -> _Grid:
    area = height * width
    inside = torch.arange(area).view(1, height, width)
    padded = F.pad(inside, (1, 1, 1, 1), value=area)
    shifted = [
        padded[0, top : top + height, left : left + width].flatten()
        for top in range(3)
        for left in range(3)
    ]
    first = checkerboard((height, width)).flatten()
    halves = torch.nonzero(first).flatten(), torch.nonzero(~first).flatten()
    return _Grid(area, torch.stack(shifted, dim=1), halves)


class _Layer(NamedTuple):
    weight: Tensor  # (k k I, O), float64
    bias: Tensor  # (O,), float64


class _Context:
    """The network of one group."""

    def __init__(self, before: int, own: int, layers: Mapping[str, Tensor]) -> None:
        self.own = own
        look = layers["look.weight"].split([before, own, 1], dim=1)
        self.of_before, self.of_own, self.of_flag = map(_as_matrix, look)
        self.look_bias = layers["look.bias"]
        self.mix = _Layer(_as_matrix(layers["mix.weight"]), layers["mix.bias"])
        self.give = _Layer(_as_matrix(layers["give.weight"]), layers["give.bias"])

    def look_before(self, received: Tensor, grid: _Grid) -> Tensor:
        """What the groups before add to the first layer, the same for both halves."""
        if not received.shape[1]:
            return self.look_bias.expand(grid.area, -1)
        return torch.addmm(self.look_bias, _gather(received, grid.neighbours), self.of_before)

    def predict(
        self, seen: Tensor, own: Tensor | None, grid: _Grid, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means and rows at ``places``; ``own`` is the first half's values where known."""
        if own is not None:
            flag = (grid.neighbours < grid.area).to(torch.float64) * UNIT
            seen = seen + flag @ self.of_flag + _gather(own, grid.neighbours) @ self.of_own
        x = _activate(_rescale(seen))
        x = F.pad(_activate(_rescale(torch.addmm(self.mix.bias, x, self.mix.weight))), (0, 0, 0, 1))
        around = _gather(x, grid.neighbours[places])
        out = _rescale(torch.addmm(self.give.bias, around, self.give.weight))
        means, log_scales = out.split(self.own, dim=1)
        rows = torch.floor((log_scales - _LOWEST) / _STEP).clamp_(0, ROWS - 1)
        return means, rows.to(torch.int64)


def _read_layers(tensors: Mapping[str, Tensor], group: int) -> dict[str, Tensor]:
    """A group's whole numbers as float64.

    Raises:
        InputError: a sum could pass 2**53.
    """
    names = [f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")]
    found = {name: tensors[f"{group}.{name}"].to(torch.float64) for name in names}
    for layer in LAYERS:
        weight, bias = found[f"{layer}.weight"], found[f"{layer}.bias"]
        if (weight.abs().sum(dim=(1, 2, 3)) * _LARGEST + bias.abs()).max() >= 2.0**53:
            raise InputError("the codec's integers are too large to be added exactly; train anew")
    return found


def _as_matrix(weight: Tensor) -> Tensor:
    """Weights ``(O, I, k, k)`` as ``(k k I, O)``, to be multiplied from the right."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()


def _gather(x: Tensor, neighbours: Tensor) -> Tensor:
    """Rows of ``(area + 1, C)`` around each place, side by side: ``(n, 9 C)``."""
    return x.index_select(0, neighbours.flatten()).view(len(neighbours), -1)


def _rescale(total: Tensor) -> Tensor:
    """Sums of weights times activations back to the unit of activations, rounded."""
    half = (total + _WEIGHT_UNIT // 2).mul_(1 / _WEIGHT_UNIT)  # a power of two: exact
    return half.floor_().clamp_(-_LARGEST, _LARGEST)


def _activate(x: Tensor) -> Tensor:
    """The leaky rectifier, rounded down below zero."""
    return torch.maximum(x, (x * (_SLOPE / UNIT)).floor_())  # a power of two divides: exact
