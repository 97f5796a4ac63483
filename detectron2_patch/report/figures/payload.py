"""Payload against AP drop: all settings, the Pareto front, and the named methods on it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from detectron2_patch.report.figures.numbering import number_points
from detectron2_patch.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    RED,
    SKY,
    Figure,
    new_figure,
    plain_number,
    show_ratio,
)
from detectron2_patch.report.records import Group, Record, pareto_front
from detectron2_patch.settings.levels import span, wire_levels

MOST_NAMED = 12
NEAR = 5.0  # points of AP: the drop that the right panel shows
LINE = 0.2  # inches of a name
ALLOWED = 1.4  # percent of AP: the drop that the study reports, and search.py's default


def draw(group: Group) -> Figure | None:
    """Scope ``pyramid`` alone, which saves data; None without a clean result or payloads."""
    known = [r for r in group.records if r.smaller is not None and group.drop(r) is not None]
    if group.clean is None or len(known) < 2:
        return None
    front = [record for record in pareto_front(group) if record.smaller is not None]
    best = smallest_within(group, known)
    named = choose_named(known, front, best)
    names = [f"{n}  {_name(record, best)}" for n, record in enumerate(named, start=1)]
    lines = max(3, sum(1 + name.count("\n") for name in names))
    size = (7.2, 8.6 + LINE * lines)
    canvas = new_figure(group, "pyramid", "How little has to be sent, and what it costs", size)
    rows = canvas.subplots(3, 1, height_ratios=(3, 3, LINE * lines))
    panels = rows[:2]
    for panel in panels:
        _points(panel, group, known, front)
        panel.set_xscale("log")
        panel.set_ylabel("points of AP lost", fontsize=12)
        panel.tick_params(labelsize=12)
    whole = span(wire_levels(group.levels), "–")
    panels[1].set_xlabel(f"times smaller than {whole} in fp32", fontsize=12)
    panels[0].set_title("All settings", fontsize=12)
    panels[1].set_title(f"Those that lose {NEAR:g} points at most", fontsize=12)
    drops = [group.drop(record) for record in known]
    low = min(drops)
    panels[0].invert_yaxis()
    panels[1].set_ylim(NEAR, min(low, 0) - 0.25)
    near = [record.smaller for record in known if group.drop(record) <= NEAR]
    if near:
        panels[1].set_xlim(min(near) / 1.15, max(near) * 1.25)
    for panel in panels:
        _plain_ticks(panel)
    handles, labels = panels[0].get_legend_handles_labels()
    handles.append(_circle())
    labels.append("named below")
    _list(rows[2], names, lines)
    canvas.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=11)
    number_points(canvas, panels, [(record.smaller, group.drop(record)) for record in named])
    text = (
        "Points of AP lost against how many times less has to be sent than "
        f"{span(wire_levels(group.levels))} as 32-bit "
        "numbers; the line joins the settings that no other one beats."
    )
    return Figure("payload_pyramid", text, canvas)


def smallest_within(group: Group, known: Sequence[Record]) -> list[Record]:
    """What sends least within ``ALLOWED``, and the pyramid that does, where that is another."""
    whole = None if group.clean is None else group.clean.metrics.get("AP")
    within = [r for r in known if not r.clean and (group.drop(r) or 0) * 100 <= ALLOWED * whole]
    pyramids = [record for record in within if record.setting.image is None]
    best = [max(some, key=lambda r: r.smaller) for some in (within, pyramids) if some]
    return _once(best)


def choose_named(
    known: Sequence[Record], front: Sequence[Record], best: Sequence[Record] = ()
) -> list[Record]:
    """The records with names of their own: the best ones, the two levels of the study's method,
    restored its way and fitted, one ratio on all levels, and some spread over the front."""
    methods = [record for record in known if not record.plain]
    uniform = [r for r in known if r.plain and not r.clean and len(set(r.ratios)) == 1]
    if len(methods) > MOST_NAMED - 4:
        pair = [r for r in methods if r.label.startswith("send P3 P5") and ", " in r.label]
        pair = [r for r in pair if r.label.endswith(("as the study, P4 from P3", "P3 P5, fitted"))]
        methods = [*pair, *(r for r in methods if r in front and r not in pair)] or methods
        chosen = _once([*best, *pair[:2], *uniform[:3]])
        rest = [record for record in methods if record not in chosen]
        room = MOST_NAMED - len(chosen)
        chosen += rest[:: max(1, -(-len(rest) // room))] if room else []
    else:
        chosen = _once([*best, *methods, *uniform])
    return sorted(chosen[:MOST_NAMED], key=lambda record: record.smaller)


def _once(records: Sequence[Record]) -> list[Record]:
    return list({record.id: record for record in records}.values())


def _name(record: Record, best: Sequence[Record]) -> str:
    text = f"all levels at {show_ratio(record.ratios[0])}" if record.plain else record.label
    if record in best:
        text += f" (smallest{'' if record is best[0] else ' pyramid'} within {ALLOWED:g}\u00a0%)"
    return "\n".join(textwrap.wrap(text, 72, subsequent_indent="     "))


def _points(panel, group: Group, known: Sequence[Record], front: Sequence[Record]) -> None:
    plain = [record for record in known if record.plain]
    pictures = [record for record in known if record.setting.image is not None]
    methods = [r for r in known if not r.plain and r.setting.image is None]
    for records, label, look in (
        (plain, "ratios alone", {"color": SKY, "marker": "o", "s": 5}),
        (methods, "levels coded or left out", {"color": ORANGE, "marker": "D", "s": 16}),
        (pictures, "the picture, coded", {"color": GREEN, "marker": "^", "s": 24}),
    ):
        if records:
            panel.scatter(
                [r.smaller for r in records],
                [group.drop(r) for r in records],
                label=f"{label} ({len(records):,} settings)",
                linewidths=0,
                rasterized=len(records) > 500,
                **look,
            )
    front = front[::-1]  # by times smaller: between two, the one that sends less is all there is
    panel.plot(
        [r.smaller for r in front],
        [group.drop(r) for r in front],
        color=BLUE,
        drawstyle="steps-pre",
        marker="o",
        markersize=3,
        linewidth=1.1,
        label=f"Pareto front ({len(front)} settings)",
    )
    panel.axhline(0, color=BLACK, linewidth=0.8, linestyle="--", label="clean pyramid")


def _plain_ticks(panel) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = panel.get_xlim()
    panel.xaxis.set_major_locator(LogLocator(10, (1, 2, 5) if high < 200 * low else (1, 3)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _list(panel, names: Sequence[str], lines: int) -> None:
    """The names below one another, in a panel that shows nothing else."""
    panel.set_axis_off()
    panel.set(xticks=[], yticks=[])
    panel.set_ylim(lines, 0)
    at = 0
    for name in names:
        panel.text(0, at, name, transform=panel.get_yaxis_transform(), va="top", fontsize=11)
        at += 1 + name.count("\n")


def _circle():
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": RED}
    return Line2D([], [], linestyle="none", marker="o", markersize=10, **look)
