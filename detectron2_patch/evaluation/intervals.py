"""95 % confidence intervals of what AP loses, from the replicates that results hold.

Replicate ``i`` draws the same images in every result of a dataset (see ``bootstrap``), so that a
difference of two results has replicates, too: what the choice of images does to both cancels.

The intervals are percentiles. AP of a resample lies a little above that of its images (repeated
images make the curve coarser, and its best-precision-beyond rises), by 0.25 points of AP on the
demo (``benchmarks/bootstrap.py``); in a difference of two results most of that cancels as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detectron2_patch.errors import InputError

PERCENTILES = (2.5, 97.5)
Interval = tuple["float | None", "float | None", "float | None"]  # value, low, high


def samples(results: Sequence[Mapping[str, Any]], size: str) -> np.ndarray:
    """(n, 1 + B) percent: each result's AP, then its replicates', as many as all have.

    NaN is no value. Where a result has no replicates, or of another seed, ``B`` is 0.

    Args:
        results: n of one dataset.
        size: AP, APs, APm or APl.
    """
    found = [result["bootstrap"] for result in results if result.get("bootstrap") is not None]
    paired = len(found) == len(results) and len({one["seed"] for one in found}) == 1
    count = min(one["replicates"] for one in found) if paired else 0
    more = [one["bbox"][size][:count] for one in found] if paired else [[]] * len(results)
    rows = [[one["results"]["bbox"].get(size), *rest] for one, rest in zip(results, more)]
    return np.array(rows, dtype=float)


def interval(values: np.ndarray) -> Interval:
    """The first of ``values`` (1 + B,), and the percentiles of the others, None where unknown.

    Replicates without a value, in which no object has the size, are left out.
    """
    value, known = values[0], values[1:][~np.isnan(values[1:])]
    if np.isnan(value):
        return None, None, None
    if not known.size:
        return float(value), None, None
    low, high = np.percentile(known, PERCENTILES)
    return float(value), float(low), float(high)


def drop_interval(
    result: Mapping[str, Any], clean: Mapping[str, Any], size: str = "AP", relative: bool = True
) -> Interval:
    """What ``result`` loses against ``clean``, and the ends of its 95 % interval.

    Args:
        size: AP, APs, APm or APl.
        relative: in percent of the clean one; else in points of AP.

    Returns:
        Value, low, high; positive is a loss. All None where nothing has the size or the clean AP
        is 0 and the drop relative; low and high None where one has no replicates, or of another
        seed.

    Raises:
        InputError: they are of different datasets.
    """
    for key in ("digest", "content"):
        ours, theirs = ((one["dataset"] or {}).get(key) for one in (result, clean))
        if ours == theirs or (key == "content" and None in (ours, theirs)):
            continue  # older results don't tell their images' content
        raise InputError(
            f"results of two datasets, {ours} and {theirs}, can't be compared; take "
            "the clean result of the same images"
        )
    degraded, whole = samples([result, clean], size)
    lost = whole - degraded
    if relative:
        lost = np.divide(100 * lost, whole, out=np.full_like(lost, np.nan), where=whole > 0)
    return interval(lost)
