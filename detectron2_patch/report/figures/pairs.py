"""What two levels at full degradation cost together, by object size."""

from __future__ import annotations

import math
from itertools import combinations

from detectron2_patch.report.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    Figure,
    losses_down,
    new_figure,
)
from detectron2_patch.report.records import Group, Record

SIZES = {
    "APs": ("small objects (APs)", BLUE, ""),
    "APm": ("medium objects (APm)", ORANGE, "///"),
    "APl": ("large objects (APl)", GREEN, "..."),
}


def draw(group: Group, scope: str) -> Figure | None:
    """Bars of lost points, three a pair; None without a clean result or any pair at ``max``."""
    pairs = list(combinations(range(len(group.levels)), 2))
    names = ["+".join(group.levels[i].upper() for i in pair) for pair in pairs]
    found = [_find(group, scope, pair) for pair in pairs]
    if group.clean is None or not any(found):
        return None
    canvas = new_figure(
        group, scope, "Two levels at full degradation: what each size loses", (9, 4.2)
    )
    panel = canvas.subplots()
    losses_down(  # before the numbers, which stand behind the ends of bars
        [panel],
        [
            drop
            for one in group.scopes
            for pair in pairs
            for metric in SIZES
            if (record := _find(group, one, pair)) is not None
            and (drop := group.drop(record, metric)) is not None
        ],
    )
    for shift, (metric, (label, colour, hatch)) in enumerate(SIZES.items()):
        drops = [
            math.nan if r is None or (d := group.drop(r, metric)) is None else d for r in found
        ]
        places = [place + 0.27 * (shift - 1) for place in range(len(pairs))]
        bars = panel.bar(
            places,
            drops,
            0.25,
            label=label,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
        )
        panel.bar_label(
            bars, ["" if math.isnan(d) else f"{round(d):d}" for d in drops], fontsize=8, padding=1
        )
    panel.set_xticks(range(len(pairs)), names)
    for place, record in enumerate(found):
        if record is None:
            panel.text(place, 0, "no\nresult", ha="center", va="top", fontsize=7)
    panel.axhline(0, color="black", linewidth=0.8)
    panel.grid(axis="x", visible=False)
    panel.set_ylabel("points of AP lost")
    canvas.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return Figure(
        f"pairs_{scope}",
        "Points of APs, APm and APl lost with two levels reduced to one element (ratio max) and "
        "the other three clean.",
        canvas,
        [f"{name} at max" for name, one in zip(names, found) if one is None],
    )


def _find(group: Group, scope: str, pair: tuple[int, int]) -> Record | None:
    ratios = tuple(math.inf if i in pair else 1 for i in range(len(group.levels)))
    return group.find(scope, ratios)
