"""Rates at a loss and Bjontegaard's deltas of all families, as rows and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from detectron2_patch.analysis.costs import Costs, side_costs
from detectron2_patch.analysis.delta import METHODS, bjontegaard
from detectron2_patch.analysis.rate_distortion import (
    LOSSES,
    Curves,
    Family,
    Rate,
    front,
    rate_at_loss,
)
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.intervals import PERCENTILES
from detectron2_patch.settings.setting import Setting

MOST = 100_000  # percent that is told apart
SEARCHED = "chosen on the images that it is measured on"


def rate_rows(curves: Curves) -> list[dict[str, Any]]:
    """A row a family and loss: bits per pixel at it, with the 95 % interval."""
    rows = []
    for family in curves.families.values():
        kept = front(family.rates, family.values[:, 0])[0]
        for loss in LOSSES:
            rate = rate_at_loss(family, curves.clean, loss)
            rows.append(
                {
                    **_who(family),
                    "points": len(family.points),
                    "on_front": len(kept),
                    "loss_percent": loss,
                    "bits_per_pixel": rate.value,
                    "low": rate.low,
                    "high": rate.high,
                    "at_most": rate.at_most,
                }
            )
    return rows


def delta_rows(curves: Curves, anchor: Family) -> list[dict[str, Any]]:
    """A row a family and method: Bjontegaard's deltas against ``anchor``, or why there are none."""
    rows = []
    for family in curves.families.values():
        if family.name == anchor.name:
            continue
        for method in METHODS:
            row = {**_who(family), "anchor": anchor.name, "method": method}
            try:
                delta = bjontegaard(anchor, family, method)
            except InputError as error:
                rows.append({**row, "refused": str(error)})
                continue
            rows.append(
                {
                    **row,
                    "rate_percent": delta.rate,
                    "low": delta.low,
                    "high": delta.high,
                    "metric_points": delta.metric,
                    "shared_low": delta.shared[0],
                    "shared_high": delta.shared[1],
                    "overlap": delta.overlap,
                    "resamples": delta.resamples,
                    "refused": None,
                }
            )
    return rows


def point_rows(curves: Curves, costs: Costs | None = None) -> list[dict[str, Any]]:
    """A row a family and point: bits per pixel, the metric with its 95 % interval, and, where
    ``costs`` are given, what sender and receiver work (None: not measured)."""
    rows = []
    for family in curves.families.values():
        for point in family.points:
            setting = Setting.from_json(point.result["setting"])
            low, high = _interval(point.values)
            row = {
                **_who(family),
                "setting": setting.label,
                "bits_per_pixel": point.rate,
                curves.metric: float(point.values[0]),
                "low": low,
                "high": high,
            }
            if costs is not None:
                row |= side_costs(costs.get(setting))
            rows.append(row)
    return rows


def _interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """The 95 % interval of replicates behind a value; None where there are none."""
    if len(values) < 2 or np.isnan(values).any():
        return None, None
    low, high = np.percentile(values[1:], PERCENTILES, method="nearest").tolist()
    return low, high


def _who(family: Family) -> dict[str, Any]:
    return {"family": family.name, "kind": family.kind, "searched": family.searched}


def format_rates(curves: Curves) -> str:
    """A row a family: bits per pixel at each loss."""
    rows = []
    for family in curves.families.values():
        found = [rate_at_loss(family, curves.clean, loss) for loss in LOSSES]
        rows.append(
            [
                family.name,
                str(len(family.points)),
                *map(show_rate, found),
                "; ".join(filter(None, [SEARCHED if family.searched else "", _installed(family)])),
            ]
        )
    head = ["bits per pixel", "points", *(f"{loss:g} % lost" for loss in LOSSES), ""]
    return _grid(head, rows)


def _installed(family: Family) -> str:
    """What both sides must have beforehand, which is in no rate."""
    settings = [Setting.from_json(point.result["setting"]) for point in family.points]
    largest = max(setting.installed_bytes for setting in settings)
    return f"files of {largest / 1e6:.2f} MB installed once aren't counted" if largest else ""


def show_rate(rate: Rate) -> str:
    """``0.710 (0.55 to 0.93)``, ``not reached``, ``at most 0.05``."""
    text = _bits(rate.value)
    if rate.at_most and rate.value is not None:
        text = f"at most {text}"
    if rate.low is None and rate.high is None:
        return text
    return f"{text} ({_bits(rate.low)} to {_bits(rate.high)})"


def _bits(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def format_deltas(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
    """A row a family of ``delta_rows``, its methods side by side, and a line for each refusal."""
    by_family: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_family.setdefault(row["family"], {})[row["method"]] = row
    lines, refused = [], []
    for name, found in by_family.items():
        first = found[METHODS[0]]
        if first["refused"]:
            refused.append(f"{name}: {first['refused']}")
            continue
        lines.append(
            [
                name,
                *(_percent(found[method]) for method in METHODS),
                "-" if first["metric_points"] is None else f"{first['metric_points']:+.2f}",
                f"{first['shared_low']:.1f} to {first['shared_high']:.1f}",
                f"{100 * first['overlap']:.0f} %",
                SEARCHED if first["searched"] else "",
            ]
        )
    anchor = rows[0]["anchor"] if rows else "-"
    head = [
        f"against {anchor}",
        *(f"bits, {method}" for method in METHODS),
        f"{metric} at equal bits",
        f"shared {metric}",
        "overlap",
        "",
    ]
    table = _grid(head, lines) if lines else f"no family has a delta against {anchor}"
    return "\n\n".join([table, *refused])


def _percent(row: Mapping[str, Any]) -> str:
    if row["refused"]:
        return "-"
    text = f"{_change(row['rate_percent'])} %"
    if row["low"] is None:
        return text
    return f"{text} ({_change(row['low'])} to {_change(row['high'])})"


def _change(percent: float) -> str:
    """Curves that are almost flat have deltas of any size."""
    return f"{percent:+.0f}" if percent < MOST else f"over {MOST:+d}"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; a last column that says nothing is left out."""
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)
