"""The smallest payload within an allowed drop of AP, and the front of what is worth sending.

Results in, points out. Scope ``rpn`` sends everything and saves nothing, so it has no point here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2_patch.analysis.front import front as pareto
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.intervals import drop_interval
from detectron2_patch.results.identity import check_one_model
from detectron2_patch.settings.cost import BYTES, ELEMENTS, bits_per_pixel, cost_of, times_smaller
from detectron2_patch.settings.setting import PYRAMID, Setting


@dataclass(frozen=True)
class Point:
    """One setting: what it costs and what it loses.

    Attributes:
        result: as ``load_results`` reads it.
        cost: bytes or elements that are sent of all images; bytes with what is sent once.
        metric: in percent.
        drop: of the metric against the clean pyramid, in percent of it.
        points: the same in points of AP.
        smaller: how many times fewer bytes (or elements) than P2 to P5 in fp32.
        setting: what it is.
    """

    result: Mapping[str, Any]
    cost: int
    metric: float
    drop: float
    points: float
    smaller: float
    setting: Setting

    @property
    def words(self) -> str:
        """The setting as on a command line."""
        return self.setting.words


def find_points(
    results: Iterable[Mapping[str, Any]], metric: str = "AP", by: str = BYTES
) -> tuple[Mapping[str, Any], list[Point]]:
    """The clean result, and a point for each result of scope ``pyramid``, by rising cost.

    Raises:
        InputError: no clean result, nothing of scope ``pyramid``, several models or datasets, or
            no object to measure ``metric`` on.
    """
    found: dict[Setting, Mapping[str, Any]] = {}
    known = [result for result in results if result["dataset"]]  # the origin's files say nothing
    check_one_model(known)
    clean = None
    for result in known:
        setting = Setting.from_json(result["setting"])
        if setting.is_clean:
            clean = result if clean is None or "bootstrap" in result else clean
        if setting.scope == PYRAMID and (setting not in found or "bootstrap" in result):
            found[setting] = result
    whole = _clean_value(clean, found, metric)
    assert clean is not None
    points = []
    for setting, result in found.items():
        value = result["results"]["bbox"][metric]
        cost, smaller = cost_of(result, by), times_smaller(result, by)
        if value is None or cost is None or smaller is None:
            continue
        drop = 100 * (whole - value) / whole
        points.append(Point(result, cost, value, drop, whole - value, smaller, setting))
    return clean, sorted(points, key=lambda point: (point.cost, -point.metric, point.words))


def _clean_value(clean: Mapping[str, Any] | None, found: Mapping, metric: str) -> float:
    if not found:
        raise InputError(
            "no result of scope pyramid, the only one that saves anything; make some "
            "with tools/sweep.py --scope pyramid"
        )
    if clean is None:
        raise InputError(
            "no result of the clean pyramid to compare with; make it with "
            "tools/train_net.py --scope pyramid"
        )
    value = clean["results"]["bbox"].get(metric)
    if not value:
        raise InputError(f"the clean pyramid has no {metric} to lose; choose another metric")
    return value


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both, by rising cost."""
    return pareto(points, lambda point: point.cost, lambda point: point.metric)


def best(
    points: Iterable[Point], max_drop: float | None = None, max_points: float | None = None
) -> Point | None:
    """The cheapest point whose drop is allowed; None where none is.

    Args:
        max_drop: in percent of the clean metric.
        max_points: in points of AP.
    """
    allowed = [
        point
        for point in points
        if (max_drop is None or point.drop <= max_drop)
        and (max_points is None or point.points <= max_points)
    ]
    return min(allowed, key=lambda point: (point.cost, -point.metric), default=None)


def row(point: Point, clean: Mapping[str, Any], metric: str, on_front: bool) -> dict[str, Any]:
    """A point for a table, with the ends of the drop's 95 % interval where there are replicates."""
    _, low, high = drop_interval(point.result, clean, metric)
    bbox, payload = point.result["results"]["bbox"], point.result["payload"]
    return {
        "setting": point.words,
        **{name: bbox.get(name) for name in ("AP", "APs", "APm", "APl")},
        "drop_percent": point.drop,
        "drop_low": low,
        "drop_high": high,
        "drop_points": point.points,
        "elements": cost_of(point.result, ELEMENTS),
        "bytes": cost_of(point.result, BYTES),
        "side_bytes": sum((payload.get("side_bytes") or {}).values()),
        "bits_per_pixel": bits_per_pixel(point.result),
        "times_smaller": point.smaller,
        "front": on_front,
        "fitted": point.result["setting"].get("fitted"),
    }
