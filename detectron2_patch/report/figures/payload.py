"""Payload against AP drop: all settings, the Pareto front, and the named methods on it."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2_patch.report.figures.style import (
    BLACK,
    BLUE,
    ORANGE,
    RED,
    SKY,
    Figure,
    new_figure,
    shorten,
    show_ratio,
)
from detectron2_patch.report.records import Group, Record, pareto_front
from detectron2_patch.settings.levels import span, wire_levels

MOST_NAMED = 12
NEAR = 5.0  # points of AP: the drop that the right panel shows


def draw(group: Group) -> Figure | None:
    """Scope ``pyramid`` alone, which saves data; None without a clean result or payloads."""
    known = [r for r in group.records if r.smaller is not None and group.drop(r) is not None]
    if group.clean is None or len(known) < 2:
        return None
    front = [record for record in pareto_front(group) if record.smaller is not None]
    named = choose_named(known, front)
    canvas = new_figure(group, "pyramid", "How little has to be sent, and what it costs", (9, 5.6))
    panels = canvas.subplots(1, 2)
    for panel in panels:
        _points(panel, group, known, front)
        for number, record in enumerate(named, start=1):
            panel.annotate(
                str(number),
                (record.smaller, group.drop(record)),
                fontsize=7,
                ha="center",
                va="center",
                clip_on=True,
                bbox={"boxstyle": "circle,pad=0.22", "fc": "white", "ec": RED},
            )
        panel.set_xscale("log")
        panel.set_xlabel(f"times smaller than {span(wire_levels(group.levels), '–')} in fp32")
    panels[0].set_title("All settings")
    panels[0].set_ylabel("points of AP lost")
    panels[1].set_title(f"Those that lose {NEAR:g} points at most")
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
    canvas.legend(handles, labels, loc="outside lower left", ncols=1)
    names = [f"{n}  {_name(record)}" for n, record in enumerate(named, start=1)]
    canvas.legend(
        [_blank()] * len(names),
        names,
        loc="outside lower right",
        ncols=2,
        fontsize=8,
        handlelength=0,
        handletextpad=0,
        columnspacing=1.5,
    )
    text = (
        "Points of AP lost against how many times less has to be sent than "
        f"{span(wire_levels(group.levels))} as 32-bit "
        "numbers; the line joins the settings that no other one beats."
    )
    return Figure("payload_pyramid", text, canvas)


def choose_named(known: Sequence[Record], front: Sequence[Record]) -> list[Record]:
    """The records with names of their own: the two levels of the origin's method, restored its way
    and fitted, then those on the front, and one ratio on all levels."""
    methods = [record for record in known if not record.plain]
    if len(methods) > MOST_NAMED - 4:
        pair = [r for r in methods if r.label.startswith("send P3 P5") and ", " in r.label]
        pair = [r for r in pair if r.label.endswith(("origin, P4 from P3", ", fitted"))]
        methods = [*pair, *(r for r in methods if r in front and r not in pair)] or methods
    uniform = [r for r in known if r.plain and not r.clean and len(set(r.ratios)) == 1]
    chosen = [*methods[: MOST_NAMED - min(4, len(uniform))], *uniform]
    return sorted(chosen[:MOST_NAMED], key=lambda record: record.smaller)


def _name(record: Record) -> str:
    if record.plain:
        return f"all levels at {show_ratio(record.ratios[0])}"
    return shorten(record.label, 44)


def _points(panel, group: Group, known: Sequence[Record], front: Sequence[Record]) -> None:
    plain = [record for record in known if record.plain]
    methods = [record for record in known if not record.plain]
    for records, label, look in (
        (plain, "ratios alone", {"color": SKY, "marker": "o", "s": 5}),
        (methods, "levels left out, bits or ranks", {"color": ORANGE, "marker": "D", "s": 16}),
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
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _blank():
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none")
