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

from detectron2_patch.codec.fitted import restorer_name
from detectron2_patch.codec.restore import pad, regressors
from detectron2_patch.settings.levels import ANY, LEVELS, wire_levels

# Places of a map that are drawn for the restorers' moments, by kernel: neighbours tell the same.
_POSITIONS = {1: 4096, 3: 1024}
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


def fit(
    pyramids: Iterable[Mapping[str, Tensor]],
    kernel: int = 3,
    sends: Sequence[tuple[str, ...]] | None = None,
    levels: Sequence[str] = LEVELS,
) -> dict[str, np.ndarray]:
    """The arrays of ``fitted.Fitted``.

    Args:
        pyramids: clean, ``{level: (N, C, H, W)}``, at least one.
        kernel: 1 or 3, side of the restorers: a missing element is made from as many by as many of
            the received ones around its place.
        sends: the subsets of levels that may be sent, for which there are to be restorers; None:
            every subset.
        levels: the detector's, finest first.
    """
    channels: dict[str, Moments] = {}
    joint: dict[str, Moments] = {}
    wanted = {level: _subsets(level, sends, levels) for level in wire_levels(levels)}
    generator = torch.Generator().manual_seed(0)
    for pyramid in pyramids:
        for level in levels:
            _add(channels, level, pyramid[level].movedim(1, -1).flatten(0, -2))
        for level, subsets in wanted.items():
            if subsets:
                _add(joint, level, _joint_rows(pyramid, level, _union(subsets), kernel, generator))
    arrays = {}
    for level, moments in channels.items():
        arrays.update(_directions(level, *moments.mean_and_covariance()))
    for level, moments in joint.items():
        size = pyramid[level].shape[1]
        arrays.update(_restorers(level, wanted[level], size, *moments.mean_and_covariance()))
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}


def _add(moments: dict[str, Moments], level: str, rows: Tensor) -> None:
    if level not in moments:
        moments[level] = Moments(rows.shape[1], rows.device)
    moments[level].add(rows)


def _joint_rows(
    pyramid: Mapping[str, Tensor],
    level: str,
    sources: Sequence[str],
    kernel: int,
    generator: torch.Generator,
) -> Tensor:
    """``(n, S C k k + C)``: at places drawn of a level, what may restore it, and itself."""
    target = pyramid[level]
    count, _, h, w = target.shape
    x = pad(regressors([pyramid[source] for source in sources], (h, w)), kernel // 2)
    places = torch.randperm(h * w, generator=generator)[: _POSITIONS[kernel]].to(target.device)
    row, column = places // w, places % w
    step = torch.arange(kernel, device=target.device)
    # (N, S C, n, k, k): S C k k is the order in which a convolution has its weights
    patches = x[:, :, row[:, None, None] + step[:, None], column[:, None, None] + step]
    patches = patches.movedim(2, 1).flatten(2).flatten(0, 1)
    return torch.cat([patches, target[:, :, row, column].movedim(1, -1).flatten(0, 1)], dim=1)


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


def _restorers(
    level: str,
    subsets: Sequence[tuple[str, ...]],
    channels: int,
    mean: np.ndarray,
    covariance: np.ndarray,
) -> dict[str, np.ndarray]:
    """The least-squares restorer of a level from each of the subsets."""
    sources = _union(subsets)
    width = (len(mean) - channels) // len(sources)  # columns of a source: C k k
    target = slice(len(sources) * width, None)
    found = {}
    for subset in subsets:
        columns = np.concatenate(
            [np.arange(width) + width * sources.index(source) for source in subset]
        )
        inner = covariance[np.ix_(columns, columns)]
        scale = np.trace(inner) / len(inner) or 1.0  # 0: all constant, such as one map of 1x1
        ridge = _RIDGE * scale * np.eye(len(inner))
        weight = np.linalg.solve(inner + ridge, covariance[columns, target]).T
        bias = mean[target] - weight @ mean[columns]
        found[restorer_name(level, subset)] = np.concatenate([weight, bias[:, None]], axis=1)
    return found


def _subsets(
    level: str, sends: Sequence[tuple[str, ...]] | None, levels: Sequence[str]
) -> list[tuple[str, ...]]:
    """The subsets that are sent where ``level`` isn't."""
    if sends is None:
        sends = [one for n in range(1, len(levels)) for one in combinations(levels, n)]
    return [one for one in sends if level not in one]


def _union(subsets: Sequence[tuple[str, ...]]) -> list[str]:
    return [level for level in ANY if any(level in subset for subset in subsets)]
