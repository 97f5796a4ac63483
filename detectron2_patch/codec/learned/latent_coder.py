"""The latent to bytes and back: a range coder with tables of counts.

The integer model says, for each value, a mean and a row of the tables; what is coded is how many
whole steps the value lies from the mean. The tables' counts, learned in training, add up to 2**16,
so that the coder's probabilities are binary fractions, exact everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.codec.learned.integer_model import (
    ROWS,
    UNIT,
    Half,
    IntegerModel,
    row_scales,
)
from detectron2_patch.errors import InputError

REACH = 31  # steps from the mean that have a symbol of their own; the rest share one
SYMBOLS = 2 * REACH + 2
_ESCAPE = SYMBOLS - 1
_FAR = 2**15  # no step is as far
_TOTAL = 2**16  # of a row's counts
_PRIOR = 200  # values that a row's logistic distribution counts for


class LatentCoder:
    """Codes latents of one model.

    Args:
        model: in integers.
        tables: counts ``(ROWS, SYMBOLS)``, 1 or more, each row's sum ``2**16``.
    """

    def __init__(self, model: IntegerModel, tables: np.ndarray) -> None:
        self.model = model
        self._queue, models = _constriction()
        self._rows = [models.Categorical(row / _TOTAL, perfect=False) for row in tables]
        self._rare = models.Uniform(2 * _FAR)

    def encode(self, latent: Tensor, dead_zone: float = 0.0) -> bytes:
        """The bytes of a latent ``(C, h, w)``.

        ``dead_zone`` is by how much of a step the interval of "at the mean" is widened on both
        sides; the receiver needs not know.
        """
        encoder = self._queue.RangeEncoder()

        def code(half: Half) -> Tensor:
            steps = nearest_steps(latent, half, dead_zone)
            symbols, far = _to_symbols(steps.numpy().ravel())
            rows = half.rows.numpy().ravel()
            for row, members in _by_row(rows):
                encoder.encode(symbols[members], self._rows[row])
            if len(far):
                encoder.encode(far, self._rare)
            return steps

        self.model.walk((latent.shape[1], latent.shape[2]), code)
        return encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")

    def decode(self, data: bytes, size: tuple[int, int]) -> Tensor:
        """The latent ``(C, h, w)`` as the receiver has it, float64.

        Raises:
            ValueError: ``data`` isn't what ``encode`` made of a latent of this size.
        """
        words = np.frombuffer(data + bytes(-len(data) % 4), "<u4").astype(np.uint32)
        decoder = self._queue.RangeDecoder(words)

        def read(half: Half) -> Tensor:
            rows = half.rows.numpy().ravel()
            symbols = np.empty(len(rows), np.int32)
            try:
                for row, members in _by_row(rows):
                    symbols[members] = decoder.decode(self._rows[row], len(members))
                steps = symbols - REACH
                (far,) = np.nonzero(symbols == _ESCAPE)
                if len(far):
                    steps[far] = decoder.decode(self._rare, len(far)) - _FAR
            except AssertionError as error:
                raise ValueError("the coded latent makes no sense") from error
            return torch.from_numpy(steps).view(half.rows.shape)

        latent = self.model.walk(size, read)
        if not decoder.maybe_exhausted():
            raise ValueError("the coded latent goes on where it should end")
        return latent


def nearest_steps(latent: Tensor, half: Half, dead_zone: float = 0.0) -> Tensor:
    """How many whole steps the values of a half lie from their means, int32."""
    values = latent[half.channels].flatten(1).T[half.places].double()
    rest = values - half.means / UNIT
    steps = torch.floor((rest.abs() + 0.5 - dead_zone).clamp_min(0)) * rest.sign()
    return steps.clamp(1 - _FAR, _FAR - 1).to(torch.int32)


class Counts:
    """What fell into each row of the tables, over the latents of a training."""

    def __init__(self) -> None:
        self.seen = np.zeros((ROWS, SYMBOLS), np.int64)

    def add(self, model: IntegerModel, latent: Tensor, dead_zone: float = 0.0) -> None:
        """Count a latent ``(C, h, w)``."""

        def count(half: Half) -> Tensor:
            steps = nearest_steps(latent, half, dead_zone)
            symbols, _ = _to_symbols(steps.numpy().ravel())
            places = half.rows.numpy().ravel() * SYMBOLS + symbols
            self.seen += np.bincount(places, minlength=self.seen.size).reshape(self.seen.shape)
            return steps

        model.walk((latent.shape[1], latent.shape[2]), count)

    def tables(self) -> np.ndarray:
        """Counts for ``LatentCoder``, int64; a row that was seen little leans on its logistic
        distribution."""
        likely = self.seen + _PRIOR * _logistic_tables()
        likely /= likely.sum(axis=1, keepdims=True)
        counts = 1 + np.floor(likely * (_TOTAL - SYMBOLS)).astype(np.int64)
        counts[np.arange(ROWS), counts.argmax(axis=1)] += _TOTAL - counts.sum(axis=1)
        return counts


def _logistic_tables() -> np.ndarray:
    """Each row's probabilities under the distribution that the model was trained with."""
    edges = np.arange(-REACH, REACH + 2) - 0.5
    below = 1 / (1 + np.exp(-np.clip(edges / row_scales()[:, None], -500, 500)))
    inner = np.diff(below, axis=1)
    return np.concatenate([inner, 1 - inner.sum(axis=1, keepdims=True)], axis=1).clip(0)


def _to_symbols(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps as symbols, and those that are too far to have one."""
    far = np.abs(steps) > REACH
    symbols = np.where(far, _ESCAPE, steps + REACH).astype(np.int32)
    return symbols, (steps[far] + _FAR).astype(np.int32)


def _by_row(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each row that occurs and where it does, so that one call codes all values of a row."""
    order = np.argsort(rows, kind="stable")
    ends = np.cumsum(np.bincount(rows, minlength=ROWS))
    for row in np.flatnonzero(np.diff(ends, prepend=0)):
        yield int(row), order[ends[row - 1] if row else 0 : ends[row]]


def _constriction() -> tuple[Any, Any]:
    """Its queue (a range coder) and its models."""
    try:
        import constriction
    except ImportError as error:
        raise InputError(
            "a learned codec needs the package constriction, which has no wheel for every "
            "machine; pip install constriction, or send without --codec"
        ) from error
    return constriction.stream.queue, constriction.stream.model
