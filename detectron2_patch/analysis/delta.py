"""Bjontegaard's deltas: how many percent more bits one family needs than another.

Of the monotone fronts (``rate_distortion.front``), over the range of the metric that both share, by
the package ``bjontegaard`` (C. Herglotz), of the extra ``codecs``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectron2_patch.analysis.rate_distortion import Family, front
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.intervals import PERCENTILES

METHODS = ("pchip", "akima")


@dataclass(frozen=True)
class Delta:
    """Bjontegaard's delta of a family against an anchor.

    Attributes:
        rate: percent more bits at the same metric, negative: fewer; ``low``, ``high``: its
            95 % interval, None without replicates.
        metric: points more of the metric at the same rate; None where no rates are shared.
        shared: the range of the metric over which ``rate`` is the mean.
        overlap: that range's share of the range of both.
        resamples: how many replicates have a delta; the others' curves don't overlap.
    """

    rate: float
    low: float | None
    high: float | None
    metric: float | None
    shared: tuple[float, float]
    overlap: float
    resamples: int


def bjontegaard(anchor: Family, test: Family, method: str = METHODS[0]) -> Delta:
    """Delta rate and delta metric of ``test`` against ``anchor``, over the range that both share.

    Of the monotone fronts, by the package ``bjontegaard``.

    Raises:
        InputError: a front has less than two points, or no metric is shared; says which.
    """
    package = need_package()
    first, *others = _pairs(anchor, test)
    reason = _refusal(anchor.name, test.name, *first)
    if reason:
        raise InputError(reason)
    (_, ours), (_, theirs) = first
    shared = max(ours[0], theirs[0]), min(ours[-1], theirs[-1])
    whole = max(ours[-1], theirs[-1]) - min(ours[0], theirs[0])
    replicates = np.array(
        [
            _delta(package.bd_rate, *pair, method)
            for pair in others
            if not _refusal(anchor.name, test.name, *pair)
        ]
    )
    low = high = None
    if len(replicates):
        low, high = np.percentile(replicates, PERCENTILES).tolist()
    return Delta(
        _delta(package.bd_rate, *first, method),
        low,
        high,
        _delta(package.bd_psnr, *first, method) if _share_rates(*first) else None,
        (float(shared[0]), float(shared[1])),
        float((shared[1] - shared[0]) / whole),
        len(replicates),
    )


Front = tuple[np.ndarray, np.ndarray]


def _pairs(anchor: Family, test: Family) -> Iterator[tuple[Front, Front]]:
    """The fronts of both, then those of each replicate that all points have."""
    for ours, theirs in zip(anchor.values.T, test.values.T):
        if not (np.isnan(ours).any() or np.isnan(theirs).any()):
            yield front(anchor.rates, ours), front(test.rates, theirs)


def _refusal(anchor: str, test: str, ours: Front, theirs: Front) -> str | None:
    """Why two fronts have no delta."""
    for name, (rates, _) in ((anchor, ours), (test, theirs)):
        if len(rates) < 2:
            return f"the front of {name} has {len(rates)} point; two are needed: add qualities"
    (_, a), (_, b) = ours, theirs
    if min(a[-1], b[-1]) <= max(a[0], b[0]):
        return (
            f"{anchor} lies between {a[0]:.2f} and {a[-1]:.2f} and {test} between {b[0]:.2f} and "
            f"{b[-1]:.2f}: the curves don't overlap; add qualities between"
        )
    return None


def _share_rates(ours: Front, theirs: Front) -> bool:
    (a, _), (b, _) = ours, theirs
    return min(a[-1], b[-1]) > max(a[0], b[0])


def _delta(of: Any, ours: Front, theirs: Front, method: str) -> float:
    with np.errstate(over="ignore"):  # of curves that are almost flat
        delta = of(*ours, *theirs, method=method, require_matching_points=False, min_overlap=0)
    return float(delta)


def need_package() -> Any:
    """The package ``bjontegaard``.

    Raises:
        InputError: it isn't installed; says how to install it.
    """
    try:
        import bjontegaard
    except ImportError as error:
        raise InputError(
            "Bjontegaard's delta needs the package bjontegaard; "
            "pip install 'detectron2-patch[codecs]'"
        ) from error
    return bjontegaard
