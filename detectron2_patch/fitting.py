"""Fit principal directions, ranges and restorers to a detector's maps, in closed form.

Everything follows from means and second moments, which are summed in float64: memory doesn't grow
with the images, and no label is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.fitted import restorer_name
from detectron2_patch.ratios import LEVELS
from detectron2_patch.restore import regressors

RESTORED = LEVELS[:4]  # P6 is the subsample of P5
_POSITIONS = 4096  # of a map, drawn for the restorers' moments: neighbours tell the same
_RIDGE = 1e-6  # of the mean variance: keeps a constant channel from dividing by zero


class Moments:
    """Mean and covariance of vectors, summed over batches of rows."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.count = 0
        self.sum = torch.zeros(size, dtype=torch.float64, device=device)
        self.outer = torch.zeros(size, size, dtype=torch.float64, device=device)

    def add(self, rows: Tensor) -> None:
        """Add rows ``(n, size)``."""
        rows = rows.double()
        self.count += len(rows)
        self.sum += rows.sum(dim=0)
        self.outer += rows.T @ rows

    def mean_and_covariance(self) -> tuple[np.ndarray, np.ndarray]:
        """``(size,)`` and ``(size, size)``, float64."""
        mean = self.sum / self.count
        covariance = self.outer / self.count - torch.outer(mean, mean)
        return mean.cpu().numpy(), covariance.cpu().numpy()


def fit(pyramids: Iterable[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    """The arrays of ``fitted.Fitted`` from clean pyramids ``{level: (N, C, H, W)}``, at least one.
    """
    channels: dict[str, Moments] = {}
    joint: dict[str, Moments] = {}
    generator = torch.Generator().manual_seed(0)
    for pyramid in pyramids:
        for level in LEVELS:
            rows = _rows(pyramid[level])
            _get(channels, level, rows).add(rows)
        for level in RESTORED:
            rows = _joint_rows(pyramid, level)
            if len(rows) > _POSITIONS:
                chosen = torch.randperm(len(rows), generator=generator)[:_POSITIONS]
                rows = rows[chosen.to(rows.device)]
            _get(joint, level, rows).add(rows)
    arrays = {}
    for level, moments in channels.items():
        arrays.update(_directions(level, *moments.mean_and_covariance()))
    for level, moments in joint.items():
        arrays.update(_restorers(level, *moments.mean_and_covariance()))
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}


def _get(moments: dict[str, Moments], level: str, rows: Tensor) -> Moments:
    if level not in moments:
        moments[level] = Moments(rows.shape[1], rows.device)
    return moments[level]


def _rows(feature: Tensor) -> Tensor:
    """``(N, C, H, W)`` -> ``(N H W, C)``."""
    return feature.movedim(1, -1).flatten(0, -2)


def _joint_rows(pyramid: Mapping[str, Tensor], level: str) -> Tensor:
    """``(n, 5 C)``: at each position of a level, the other levels' regressors, then its own."""
    others = [pyramid[other] for other in LEVELS if other != level]
    target = pyramid[level]
    size = (target.shape[-2], target.shape[-1])
    return _rows(torch.cat([regressors(others, size), target], dim=1))


def _directions(level: str, mean: np.ndarray, covariance: np.ndarray) -> dict[str, np.ndarray]:
    """Principal directions by falling variance, each with its largest entry positive."""
    variance, vectors = np.linalg.eigh(covariance)
    basis = vectors.T[::-1]
    largest = np.abs(basis).argmax(axis=1)
    signs = np.sign(basis[np.arange(len(basis)), largest])
    return {
        f"mean_{level}": mean,
        f"basis_{level}": basis * signs[:, None],
        f"variance_{level}": np.maximum(variance[::-1], 0),
        f"spread_{level}": np.sqrt(np.maximum(np.diag(covariance), 0)),
    }


def _restorers(level: str, mean: np.ndarray, covariance: np.ndarray) -> dict[str, np.ndarray]:
    """The least-squares restorer of a level from each non-empty subset of the others."""
    others = [other for other in LEVELS if other != level]
    channels = len(mean) // len(LEVELS)
    target = slice(len(others) * channels, None)
    found = {}
    for sources in _subsets(others):
        columns = np.concatenate([
            np.arange(channels) + channels * others.index(source) for source in sources
        ])
        inner = covariance[np.ix_(columns, columns)]
        ridge = _RIDGE * np.trace(inner) / len(inner) * np.eye(len(inner))
        weight = np.linalg.solve(inner + ridge, covariance[columns, target]).T
        bias = mean[target] - weight @ mean[columns]
        found[restorer_name(level, sources)] = np.concatenate([weight, bias[:, None]], axis=1)
    return found


def _subsets(levels: Sequence[str]) -> Iterable[tuple[str, ...]]:
    for count in range(1, len(levels) + 1):
        yield from combinations(levels, count)
