"""AP against the ratio of one level while the others stay clean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detectron2_patch.report.figures.style import (
    LEVEL_STYLE,
    METRIC_NAMES,
    Figure,
    new_figure,
    show_ratio,
)
from detectron2_patch.report.records import METRICS, Group, Record


def draw(group: Group, scope: str) -> Figure | None:
    """Four panels, a line a level; None where no level was damaged alone."""
    by_scope = {
        one: {level: _alone(group, one, i) for i, level in enumerate(group.levels)}
        for one in dict.fromkeys((scope, *group.scopes))
    }
    found = by_scope[scope]
    if not any(ratio != 1 for line in found.values() for ratio in line):
        return None
    lines = [line for lines in by_scope.values() for line in lines.values()]
    ratios = sorted({1.0, *(ratio for line in lines for ratio in line)})  # of all scopes
    places = _places(ratios)
    canvas = new_figure(group, scope, "What each level is worth, damaged alone", (9, 6.2))
    panels = canvas.subplots(2, 2, sharex=True)
    for panel, metric in zip(panels.flat, METRICS):
        panel.set_title(METRIC_NAMES[metric])
        for level, line in found.items():
            values = [_value(line.get(ratio), metric) for ratio in ratios]
            panel.plot(places, values, label=level.upper(), clip_on=False, **LEVEL_STYLE[level])
        panel.set_xticks(places, [show_ratio(ratio) for ratio in ratios])
        panel.minorticks_off()
    everything = [_value(record, m) for line in lines for record in line.values() for m in METRICS]
    _same_range(list(panels.flat), [value for value in everything if not math.isnan(value)])
    for panel in panels[1]:
        panel.set_xlabel("linear ratio of the level (1: clean)")
    for panel in panels[:, 0]:
        panel.set_ylabel("AP in percent")
    canvas.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        handlelength=3.5,
    )
    missing = [
        f"{level.upper()} at {show_ratio(ratio)}"
        for level, line in found.items()
        for ratio in ratios
        if ratio not in line
    ]
    return Figure(
        f"levels_{scope}",
        "AP, APs, APm and APl against the ratio of one level while the other four stay clean.",
        canvas,
        missing,
    )


def _same_range(panels, values: Sequence[float]) -> None:
    """One range of AP for all panels, in all scopes: from 0, or closer where no level costs half
    of it."""
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 1.0
    for panel in panels:
        panel.set_ylim(low - room if low > high / 2 else 0, high + room)


def _alone(group: Group, scope: str, index: int) -> dict[float, Record]:
    """Ratio to record, of the records in which no other level is damaged."""
    line = {
        record.ratios[index]: record
        for record in group.records
        if record.plain
        and record.scope == scope
        and all(r == 1 for i, r in enumerate(record.ratios) if i != index)
    }
    if group.clean is not None:
        line.setdefault(1, group.clean)
    return line


def _places(ratios: list[float]) -> list[float]:
    """Where ratios stand: by their logarithm, ``max`` one step behind the last."""
    numbers = [math.log2(ratio) for ratio in ratios if not math.isinf(ratio)]
    return numbers + [numbers[-1] + 1] * (len(ratios) - len(numbers))


def _value(record: Record | None, metric: str) -> float:
    value = None if record is None else record.metrics.get(metric)
    return math.nan if value is None else value
