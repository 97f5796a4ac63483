"""The key-level analysis: what each level is worth alone, on top of the rest, and on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2_patch.report.figures.style import (
    BLACK,
    BLUE,
    METRIC_NAMES,
    ORANGE,
    Figure,
    losses_down,
    new_figure,
)
from detectron2_patch.report.records import METRICS, Group
from detectron2_patch.settings.levels import LEVELS

STAR = "★"
ESTIMATES = {
    "alone": ("alone", {"color": BLUE, "marker": "o"}),
    "shapley": ("average over all 32 combinations (Shapley)", {"color": BLACK, "marker": "s"}),
    "with_others": ("on top of all the others", {"color": ORANGE, "marker": "^"}),
}


def draw(group: Group, scope: str, analysis: Mapping[str, Any]) -> Figure | None:
    """Four panels from a key-level analysis; None where it is empty or of another scope."""
    metrics = analysis.get("scopes", {}).get(scope) or {}
    if not any(metrics.get(metric) for metric in METRICS):
        return None
    key = analysis.get("key", {}).get(scope) or {}
    canvas = new_figure(group, scope, "Key levels: points of AP that each level is worth", (9, 5.6))
    panels = list(canvas.subplots(2, 2).flat)
    missing, handles = [], {}
    for panel, metric in zip(panels, METRICS):
        panel.set_title(METRIC_NAMES[metric])
        panel.axhline(0, color="black", linewidth=0.8)
        panel.grid(axis="x", visible=False)
        names = [f"{k.upper()} {STAR}" if k in key.get(metric, ()) else k.upper() for k in LEVELS]
        panel.set_xticks(range(len(LEVELS)), names)
        for shift, (name, (label, look)) in enumerate(ESTIMATES.items()):
            for place, level in enumerate(LEVELS):
                one = metrics.get(metric, {}).get(level, {}).get(name) or {}
                if one.get("value") is None:
                    missing.append(f"{metric} of {level.upper()} {label}")
                    continue
                handles[label] = _point(panel, place + 0.22 * (shift - 1), one, look)
    for panel in panels[::2]:
        panel.set_ylabel("points of AP lost")
    losses_down(panels, _all_values(analysis))
    handles |= _marks()
    canvas.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
    return Figure(
        f"key_levels_{scope}",
        "Points of AP lost when a level is fully degraded: alone, on top of the other four, and "
        "averaged over all combinations; with 95 % intervals where the images were resampled. "
        f"{STAR} marks a key level: surely more than a fifth of what all five cost together.",
        canvas,
        missing,
    )


def _all_values(analysis: Mapping[str, Any]) -> list[float]:
    """Of all scopes, metrics and levels, ends of intervals among them."""
    return [
        value
        for metrics in analysis.get("scopes", {}).values()
        for metric in METRICS
        for level in ((metrics or {}).get(metric) or {}).values()
        for name in ESTIMATES
        for value in ((level.get(name) or {}).get(end) for end in ("value", "low", "high"))
        if value is not None
    ]


def _marks() -> dict[str, Any]:
    """What the legend says of bars and stars."""
    from matplotlib.lines import Line2D

    star: dict[str, Any] = {"marker": "*", "markersize": 9, "color": BLACK, "linestyle": "none"}
    bar: dict[str, Any] = {
        "marker": "|",
        "markersize": 14,
        "markeredgewidth": 1.4,
        "linestyle": "none",
    }
    return {
        "95 % interval": Line2D([], [], color="#555555", **bar),
        "key: surely more than a fifth of all": Line2D([], [], **star),
    }


def _point(panel, place: float, one: Mapping[str, float], look: Mapping[str, str]):
    low, high = one.get("low"), one.get("high")
    if low is not None and high is not None:
        panel.vlines(place, low, high, color=look["color"], linewidth=1.4)
    (point,) = panel.plot(place, one["value"], linestyle="none", **look)
    return point
