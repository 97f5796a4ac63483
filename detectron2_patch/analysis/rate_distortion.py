"""Rate and distortion: AP against bits per image pixel, a curve a family of settings.

A family's curve is its monotone front: the points that no other of the family beats in both, so
that more bits always give more AP. A measured curve needn't rise (a hundred images are a noisy
measure, and AP saturates), and neither interpolation nor Bjontegaard's delta has a meaning where it
falls. Between two points of the front the logarithm of the rate is linear in AP.

Intervals come from the replicates that results hold (``evaluation.bootstrap``): replicate ``i``
draws the same images in every result, so each has a front, and a delta, of its own. Rates are those
of all images in every replicate. A family that has a point without replicates has no intervals.

A front over many settings is a choice, and what was chosen on some images is a little better on
them than on others (a winner's curse that resamples don't show). Families of levels are therefore
called searched, unless they hold nothing but settings that were named before they were measured.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.box_matching import SIZES
from detectron2_patch.evaluation.intervals import PERCENTILES
from detectron2_patch.results.identity import check_one_model
from detectron2_patch.settings.codecs import LevelCodec, PyramidCodec
from detectron2_patch.settings.cost import bits_per_pixel
from detectron2_patch.settings.setting import Setting
from detectron2_patch.settings.treatments import FIT, Restored

LOSSES = (0.5, 1.0, 1.4, 5.0)  # percent of the clean metric
IMAGE, PYRAMID, LEVELS = KINDS = ("image", "pyramid", "levels")
SEARCHED = "levels, searched"


@dataclass(frozen=True)
class Point:
    """One result on a curve.

    Attributes:
        rate: bits per image pixel.
        values: (1 + B,) percent: the metric, then its replicates', NaN where it has none.
    """

    rate: float
    values: np.ndarray
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """The settings that make one curve, by rising rate.

    Attributes:
        name: such as ``avif``, ``hevc/444@0.5``, ``frames``, ``levels`` (all that needs neither a
            codec nor training) and its parts ``levels/bits``, ``levels/rank``, …
        kind: ``image``, ``pyramid`` (a codec of it) or ``levels``.
        searched: its front was chosen among many settings, on the images that it is measured on.
    """

    name: str
    kind: str
    points: tuple[Point, ...]
    searched: bool = False

    @property
    def rates(self) -> np.ndarray:
        return np.array([point.rate for point in self.points])

    @property
    def values(self) -> np.ndarray:
        """(n, 1 + B)."""
        return np.array([point.values for point in self.points])


@dataclass(frozen=True)
class Curves:
    """All families of one detector on one dataset.

    Attributes:
        clean: (1 + B,) percent, of the clean pyramid.
    """

    metric: str
    clean: np.ndarray
    families: dict[str, Family]

    def __getitem__(self, name: str) -> Family:
        """A family.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self.families:
            known = (
                f"choose one of {', '.join(self.families)}" if self.families else "none has a rate"
            )
            raise InputError(f"no results of {name!r}; {known}")
        return self.families[name]


@dataclass(frozen=True)
class Rate:
    """The rate at which a family reaches a metric.

    Attributes:
        value: bits per pixel; None: not reached.
        low, high: of the 95 % interval; None: unknown, or, of ``high``, not reached.
        at_most: its cheapest point is better than that already, so fewer bits may do.
    """

    value: float | None
    low: float | None
    high: float | None
    at_most: bool


def curves(
    results: Iterable[Mapping[str, Any]],
    metric: str = "AP",
    named: Iterable[Mapping[str, Any]] | None = None,
) -> Curves:
    """Results as families, each setting once (one with replicates before one without).

    Settings of scope ``rpn`` send everything and have no rate.

    Args:
        named: results whose settings were named before they were measured. The families of levels
            are then of these alone, and ``levels, searched`` is of all, where there are others.

    Raises:
        InputError: no clean result, no metric of it, or several models or datasets.
    """
    clean, found = _by_setting(results, metric)
    known = None if named is None else {Setting.from_json(one["setting"]) for one in named}
    values = _values([clean, *found.values()], metric)
    points: dict[tuple[str, str], list[Point]] = {}
    for (setting, result), row in zip(found.items(), values[1:]):
        rate = rate_of(result)
        assert rate is not None  # no others were taken
        for key in _families_of(setting, known):
            points.setdefault(key, []).append(Point(rate, row, result))
    if len(points.get((LEVELS, SEARCHED), ())) == len(points.get((LEVELS, LEVELS), ())):
        points.pop((LEVELS, SEARCHED), None)  # nothing was chosen here
    families = {
        name: Family(
            name,
            kind,
            tuple(sorted(those, key=lambda p: (p.rate, -p.values[0]))),
            kind == LEVELS and (known is None or name == SEARCHED),
        )
        for (kind, name), those in sorted(points.items())
    }
    return Curves(metric, values[0], families)


def _by_setting(
    results: Iterable[Mapping[str, Any]], metric: str
) -> tuple[Mapping[str, Any], dict[Setting, Mapping[str, Any]]]:
    """The clean result, and the others that have a rate and the metric."""
    found: dict[Setting, Mapping[str, Any]] = {}
    clean = None
    known = [result for result in results if result["dataset"]]  # the origin's files say nothing
    check_one_model(known)
    for result in known:
        setting = Setting.from_json(result["setting"])
        if setting.is_clean:
            clean = result if clean is None or "bootstrap" in result else clean
        elif rate_of(result) is not None and result["results"]["bbox"].get(metric) is not None:
            if setting not in found or "bootstrap" in result:
                found[setting] = result
    if clean is None or not clean["results"]["bbox"].get(metric):
        raise InputError(
            f"no result of the clean pyramid whose {metric} can be lost; make it with "
            "tools/train_net.py --scope pyramid, or choose another metric"
        )
    return clean, found


def rate_of(result: Mapping[str, Any]) -> float | None:
    """Bits per image pixel that cross the wire; None where nothing is saved, or nothing told."""
    return bits_per_pixel(result) or None


def _values(results: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray:
    """(n, 1 + B): the metric, then as many replicates as the first result has.

    NaN where a result has none, fewer, or of another seed; AP50 and the like have none.
    """
    boots = [(result.get("bootstrap") or {}) if metric in SIZES else {} for result in results]
    count = boots[0].get("replicates", 0)
    values = np.full((len(results), 1 + count), np.nan)
    for row, result, own in zip(values, results, boots):
        row[0] = result["results"]["bbox"][metric]
        if count and own.get("seed") == boots[0]["seed"]:
            replicates = own["bbox"][metric][:count]
            row[1 : 1 + len(replicates)] = replicates
    return values


def _families_of(setting: Setting, named: Container[Setting] | None) -> list[tuple[str, str]]:
    """(kind, name) of the families that a setting is in."""
    if setting.image is not None:
        return [(IMAGE, setting.image.family)]
    for one in setting.treatments:
        if isinstance(one, PyramidCodec):
            return [(PYRAMID, one.family)]
        if isinstance(one, LevelCodec):
            return [(LEVELS, f"{LEVELS}/{one.family}")]
    own = [(LEVELS, LEVELS), (LEVELS, f"{LEVELS}/{_means(setting)}")]
    if named is None:
        return own
    return [(LEVELS, SEARCHED), *(own if setting in named else ())]


def _means(setting: Setting) -> str:
    """What saves bits: the most that a setting does of ratio, bits, rank, fitted restorers."""
    if any(isinstance(one, Restored) and one.how == FIT for one in setting.treatments):
        return "fitted"
    for means in ("rank", "bits"):
        if any(getattr(one, means, 0) for one in setting.treatments):
            return means
    return "ratio" if setting.is_plain else "sent"


def front(rates: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The monotone front of points (n,), (n,): rates and values that both rise strictly."""
    order = np.lexsort((-values, rates))
    rates, values = rates[order], values[order]
    before = np.maximum.accumulate(np.concatenate([[-np.inf], values[:-1]]))
    kept = values > before
    return rates[kept], values[kept]


def rate_at(rates: np.ndarray, values: np.ndarray, target: float) -> tuple[float, bool]:
    """The rate at which a front reaches ``target``, and whether that is at most.

    Infinite where it never does. Between two points the rate's logarithm is linear.
    """
    if not len(values) or target > values[-1]:
        return np.inf, False
    if target < values[0]:
        return float(rates[0]), True
    return float(np.exp(np.interp(target, values, np.log(rates)))), False


def rate_at_loss(family: Family, clean: np.ndarray, loss: float) -> Rate:
    """Bits per pixel at which a family loses ``loss`` percent of the clean metric."""
    rates, values = family.rates, family.values
    targets = clean * (1 - loss / 100)
    found = [
        rate_at(*front(rates, column), target)
        for column, target in zip(values.T, targets)
        if not np.isnan(column).any()
    ]
    (value, at_most), *replicates = found
    low = high = None
    if replicates:
        spread = [one for one, _ in replicates]
        low, high = np.percentile(spread, PERCENTILES, method="nearest").tolist()
    ends = [None if x is None or np.isinf(x) else x for x in (value, low, high)]
    return Rate(ends[0], ends[1], ends[2], at_most)


def best_image(curves: Curves, loss: float = 1.0) -> Family:
    """The family of image codecs that needs fewest bits at a loss; the best one if none gets there.

    Raises:
        InputError: there are no results of image codecs.
    """
    known = [family for family in curves.families.values() if family.kind == IMAGE]
    if not known:
        raise InputError(
            "no results of image codecs to be the anchor; make some with --image, or name another"
        )

    def cost(family: Family) -> tuple[float, float]:
        rate = rate_at_loss(family, curves.clean[:1], loss).value
        return (np.inf if rate is None else rate), -family.values[:, 0].max()

    return min(known, key=cost)
