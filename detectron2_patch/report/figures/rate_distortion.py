"""AP against bits per image pixel: the coded image, coded frames and levels, a line a family."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from detectron2_patch.analysis.rate_distortion import (
    IMAGE,
    LEVELS,
    SEARCHED,
    Curves,
    Family,
    curves,
    front,
)
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.intervals import PERCENTILES
from detectron2_patch.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    METRIC_NAMES,
    ORANGE,
    PINK,
    RED,
    SKY,
    Figure,
    new_figure,
    plain_number,
)
from detectron2_patch.report.records import METRICS, Group

NEAR = 0.2  # share of the clean metric: the loss that the panels show
_IMAGE_LOOKS = dict(
    zip(
        ("avif", "hevc", "av1", "jxl", "webp", "jpeg"),
        ((BLUE, "o"), (GREEN, "^"), (PINK, "v"), (SKY, "s"), (ORANGE, "D"), ("#777777", "P")),
    )
)
_TITLES = {"avif": "AVIF", "hevc": "HEVC", "av1": "AV1", "jxl": "JPEG XL", "webp": "WebP"}
_TITLES |= {"jpeg": "JPEG"}
_PYRAMIDS = {"frames": "coded frames", "learned": "learned codec"}
_OWN = {"color": BLACK, "marker": "*", "linewidth": 2.4, "markersize": 9}
_FRAMES = {"color": RED, "marker": "X", "linestyle": (0, (4, 1.5))}
_LEARNED = {"color": RED, "marker": "p", "linewidth": 2.4, "markersize": 8}


def draw(group: Group, named: Iterable[Mapping[str, Any]] | None = None) -> Figure | None:
    """All of scope ``pyramid``; None without a clean result or a family of two points.

    Args:
        named: results whose settings were named before they were measured; see ``curves``.
    """
    named = None if named is None else list(named)
    found = {}
    for metric in METRICS:
        try:
            found[metric] = curves(group.results, metric, named)
        except InputError:  # no clean result, or nothing of that size in it
            continue
    shown = [] if "AP" not in found else [one.name for one in choose(found["AP"])]
    if not shown:
        return None
    canvas = new_figure(group, "pyramid", "AP against bits per image pixel", (7.2, 9.4))
    rows = canvas.subplot_mosaic([["AP"] * 3, ["APs", "APm", "APl"]], height_ratios=(2, 1))
    for metric, panel in rows.items():
        if metric in found:
            _panel(panel, found[metric], shown, bars=metric == "AP")
        panel.set_xlim(rows["AP"].get_xlim())  # its own is the first
        panel.set_title(METRIC_NAMES[metric] if metric == "AP" else metric, fontsize=13)
        panel.tick_params(labelsize=12)
    rows["AP"].set_xlabel("bits per image pixel", fontsize=13)
    rows["AP"].set_ylabel("AP in percent", fontsize=13)
    handles, labels = rows["AP"].get_legend_handles_labels()
    if any(_has_replicates(found["AP"][name]) for name in shown):
        handles.append(_interval())
        labels.append("95 % interval")
    canvas.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=13)
    text = (
        "AP against bits per image pixel, what is sent once among them: the image itself through "
        "its codecs, the pyramid as coded frames, and levels by ratio, bits and rank. Each line "
        "joins the settings of a family that no other of it beats; thin bars are 95 % intervals "
        "of AP over resamples of the images; the dotted line is 1 % below the clean AP."
    )
    return Figure("rate_distortion_pyramid", text, canvas)


def choose(found: Curves) -> list[Family]:
    """The families that are drawn: all codecs, and of levels the one of all of them, with two
    points on the front or more, the images first and the levels last."""
    of_levels = LEVELS if LEVELS in found.families else SEARCHED
    kept = [
        family
        for family in found.families.values()
        if (family.kind != LEVELS or family.name == of_levels) and len(_front(family)[0]) > 1
    ]
    return sorted(kept, key=lambda family: (family.kind != IMAGE, family.kind == LEVELS))


def _front(family: Family) -> tuple[np.ndarray, np.ndarray]:
    return front(family.rates, family.values[:, 0])


def _panel(panel, found: Curves, names: Sequence[str], bars: bool) -> None:
    clean = found.clean[0]
    panel.axhline(clean, color=BLACK, linewidth=0.9, linestyle="--", label="clean")
    panel.axhline(0.99 * clean, color=BLACK, linewidth=0.9, linestyle=":", label="1 % lost")
    bottom, edges = (1 - NEAR) * clean, []
    for name in names:
        if name not in found.families:
            continue
        family = found[name]
        rates, values = _front(family)
        look = _look(family)
        panel.plot(rates, values, label=_label(family), **look)
        if bars:
            _bars(panel, family, rates, look["color"])
        edges += [rate for rate, value in zip(rates, values) if value > bottom]
    panel.set_xscale("log")
    if edges:
        panel.set_xlim(min(edges) / 1.2, max(edges) * 1.2)
    tops = [found[name].values[:, 0].max() for name in names if name in found.families]
    panel.set_ylim(bottom, max([clean, *tops]) + 0.03 * clean)
    _plain_ticks(panel)


def _bars(panel, family: Family, rates: np.ndarray, color: str) -> None:
    """The 95 % interval of each point on the front, where all resamples are known."""
    for point in family.points:
        replicates = point.values[1:]
        if point.rate not in rates or not replicates.size or np.isnan(replicates).any():
            continue
        panel.vlines(point.rate, *np.percentile(replicates, PERCENTILES), color=color, lw=0.7)


def _has_replicates(family: Family) -> bool:
    return any(point.values[1:].size for point in family.points)


def _interval():
    """What the legend says of the thin bars."""
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"marker": "|", "markersize": 16, "markeredgewidth": 0.9}
    return Line2D([], [], color="#555555", linestyle="none", **look)


def _look(family: Family) -> dict[str, Any]:
    if family.kind == LEVELS:
        return _OWN
    if family.kind != IMAGE:
        return _LEARNED if family.name == "learned" else _FRAMES
    base, _, scaled = family.name.partition("@")
    color, marker = _IMAGE_LOOKS.get(base.partition("/")[0], ("#777777", "."))
    return {"color": color, "marker": marker, "linestyle": "-." if scaled else "-"}


def _label(family: Family) -> str:
    if family.kind == LEVELS:
        return "pyramid, no training" + (" (searched here)" if family.searched else "")
    if family.kind != IMAGE:
        return f"pyramid, {_PYRAMIDS.get(family.name, family.name)}"
    base = re.match(r"\w*", family.name)[0]  # type: ignore[index]  # matches nothing, too
    return f"picture, {_TITLES.get(base, base)}{family.name.removeprefix(base)}"


def _plain_ticks(panel) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panel.xaxis.set_major_locator(LogLocator(10))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())
