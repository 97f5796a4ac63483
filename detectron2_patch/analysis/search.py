"""The smallest payload within an allowed drop of AP, and the front of what is worth sending.

Results in, points out. Scope ``rpn`` sends everything and saves nothing, so it has no point here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.intervals import drop_interval
from detectron2_patch.results.identity import model_of
from detectron2_patch.settings.labels import is_clean
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.parsing import setting_words
from detectron2_patch.settings.treatments import FLOAT_BITS, setting_from_json

BYTES, ELEMENTS = COSTS = ("bytes", "elements")


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
    """

    result: Mapping[str, Any]
    cost: int
    metric: float
    drop: float
    points: float
    smaller: float

    @property
    def words(self) -> str:
        """The setting as on a command line."""
        return setting_words(setting_from_json(self.result["setting"]))


def find_points(
    results: Iterable[Mapping[str, Any]], metric: str = "AP", by: str = BYTES
) -> tuple[Mapping[str, Any], list[Point]]:
    """The clean result, and a point for each result of scope ``pyramid``, by rising cost.

    Raises:
        InputError: no clean result, nothing of scope ``pyramid``, several models or datasets, or
            no object to measure ``metric`` on.
    """
    found: dict[str, Mapping[str, Any]] = {}
    models = {}
    clean = None
    for result in results:
        if not result["dataset"] or result["setting"].get("cr") is None:  # the origin's files
            continue
        models[model_of(result)] = result
        if is_clean(result["setting"]):
            clean = result if clean is None or "bootstrap" in result else clean
        if result["setting"]["scope"] == "pyramid":
            key = str(sorted(result["setting"].items()))
            if key not in found or "bootstrap" in result:
                found[key] = result
    _check(models, clean, found, metric)
    assert clean is not None
    whole = clean["results"]["bbox"][metric]
    points = []
    for result in found.values():
        value = result["results"]["bbox"][metric]
        if value is None:
            continue
        payload, cost = result["payload"], cost_of(result["payload"], by)
        full = sum(payload["full"][level] for level in LEVELS[:4])
        points.append(
            Point(
                result,
                cost,
                value,
                100 * (whole - value) / whole,
                whole - value,
                full * (FLOAT_BITS // 8 if by == BYTES else 1) / cost,
            )
        )
    return clean, sorted(points, key=lambda point: (point.cost, -point.metric, point.words))


def _check(models: Mapping, clean, found: Mapping, metric: str) -> None:
    if len(models) > 1:
        one, other = [
            f"{r['dataset']['name']} with {r['weights']['path']} on {r['engine']}"
            for r in models.values()
        ][:2]
        raise InputError(
            f"results of {len(models)} models or datasets, such as {one} and {other}; "
            "give the results of one"
        )
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
    if not clean["results"]["bbox"].get(metric):
        raise InputError(f"the clean pyramid has no {metric} to lose; choose another metric")


def cost_of(payload: Mapping[str, Any], by: str) -> int:
    """What a payload costs. Older results tell no bytes: theirs are float32."""
    elements = sum(payload["sent"].values())
    if by == ELEMENTS:
        return elements
    if "total_bytes" not in payload:
        return FLOAT_BITS // 8 * elements
    return payload["total_bytes"] + sum(payload["side_bytes"].values())


def level_cost(payload: Mapping[str, Any], level: str, by: str) -> int:
    """What one level of a payload costs."""
    if by == BYTES and "bytes" in payload:
        return payload["bytes"][level]
    return payload["sent"][level] * (FLOAT_BITS // 8 if by == BYTES else 1)


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both, by rising cost."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.metric)):
        if not kept or point.metric > kept[-1].metric:
            kept.append(point)
    return kept


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
        "elements": cost_of(payload, ELEMENTS),
        "bytes": cost_of(payload, BYTES),
        "side_bytes": sum(payload.get("side_bytes", {}).values()),
        "bits_per_pixel": payload.get("bits_per_pixel"),
        "times_smaller": point.smaller,
        "front": on_front,
        "fitted": point.result["setting"].get("fitted"),
    }
