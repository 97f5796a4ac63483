"""Results as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from detectron2_patch.analysis.key_levels import PAIRS
from detectron2_patch.analysis.search import find_points
from detectron2_patch.evaluation.coco import OVERALL
from detectron2_patch.evaluation.intervals import drop_interval
from detectron2_patch.settings.cost import bits_per_pixel, times_smaller, total_bytes
from detectron2_patch.settings.labels import KINDS, columns_of, distinct_labels, label_of
from detectron2_patch.settings.levels import ratio_to_json, span, wire_levels
from detectron2_patch.settings.setting import PYRAMID, RPN, Setting


def format_change(results: Mapping[str, Any], clean: Mapping[str, Any]) -> str:
    """One line: how far each overall number lies from the clean one, in points."""
    changes = [
        f"{key} {results['bbox'][key] - clean['bbox'][key]:+.1f}"
        for key in OVERALL
        if results["bbox"].get(key) is not None and clean["bbox"].get(key) is not None
    ]
    return "against the clean pyramid: " + ", ".join(changes)


def format_sent(result: Mapping[str, Any]) -> str:
    """One line: what crosses the wire."""
    cost = total_bytes(result)
    if cost is None:
        return "sent: everything (in scope rpn the box head reads clean maps, so nothing is saved)"
    smaller = times_smaller(result)
    installed = Setting.from_json(result["setting"]).installed_bytes
    beside = f", beside a file of {installed / 1e6:.2f} MB installed once" if installed else ""
    return (
        f"sent: {cost / result['dataset']['image_count']:,.0f} bytes an image, "
        f"{_rate(bits_per_pixel(result))} bits per pixel, "
        f"{smaller or math.nan:,.1f} times fewer than "
        f"{span(wire_levels(tuple(result['setting']['cr'])))} in fp32{beside}"
    )


def format_table(results: Mapping[str, Mapping[str, float | None]]) -> str:
    """``results`` as text: the overall AP, then each class, three to a row; "-" is no value.

    Masks and keypoints have a table of their own behind that of the boxes.
    """
    if len(results) > 1:
        return "\n\n".join(f"{task}\n\n{_task_table(one)}" for task, one in results.items())
    return _task_table(results["bbox"])


def _task_table(metrics: Mapping[str, float | None]) -> str:
    overall = _grid([list(OVERALL), [_percent(metrics.get(key)) for key in OVERALL]])
    cells = [
        cell
        for key, value in metrics.items()
        if key.startswith("AP-")
        for cell in (" ".join(key[3:].split()).replace("|", "\\|"), _percent(value))
    ]
    if not cells:
        return overall
    width = min(6, len(cells))
    cells += [""] * (-len(cells) % width)
    rows = [cells[i : i + width] for i in range(0, len(cells), width)]
    return overall + "\n\n" + _grid([["class", "AP"] * (width // 2), *rows])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _grid(rows: list[list[str]]) -> str:
    """Rows in Markdown, the first as the head."""
    return tabulate(rows, headers="firstrow", tablefmt="github", disable_numparse=True)


def format_settings(results: Sequence[Mapping[str, Any]]) -> str:
    """One row a result: its setting and overall numbers, clean first, then by scope and ratios,
    then the settings that are more than ratios."""
    rows = []
    settings = [Setting.from_json(result["setting"]) for result in results]
    labels = distinct_labels(settings)
    for result, setting in zip(results, settings):
        bbox = result["results"]["bbox"]
        dataset = (result["dataset"] or {}).get("name") or "unknown"
        shown = ["-" if bbox.get(key) is None else f"{bbox[key]:.1f}" for key in OVERALL]
        name = label_of(setting.by_level()) if setting.is_clean else labels[setting]
        order = (dataset, not setting.is_plain, *_order(setting), name)
        rows.append((order, [dataset, setting.scope, name, *shown]))
    return _grid([["dataset", "scope", "setting", *OVERALL], *(row for _, row in sorted(rows))])


def _order(setting: Setting) -> tuple:
    """Clean first, then by scope, then those that damage few levels, by ratios."""
    honest = setting.scope == PYRAMID
    if not setting.is_plain:
        return True, honest, 0, []
    ratios = [ratio for ratio in setting.ratios if ratio is not None]
    few = -sum(ratio == 1 for ratio in ratios)
    return not setting.is_clean, honest, few, [-ratio for ratio in ratios]


def format_methods(results: Sequence[Mapping[str, Any]]) -> str:
    """One row a setting, both scopes side by side, what sends least last.

    Its bits per image pixel and how many times fewer bytes than P2 to P5 in fp32 that is (scope
    ``pyramid``; scope ``rpn`` sends everything), AP in each scope, and what it loses in percent
    with its 95 % interval.
    Settings that differ in their fitted file alone are told apart by the start of its SHA-256. The
    last columns have ratio, rank, bits, range and restoration of P2 to P6, a word each, where the
    label is not all.

    Raises:
        InputError: no clean result among them, or several models or datasets.
    """
    clean, points = find_points(results)
    of_rpn = {
        Setting.from_json(one["setting"]): one
        for one in results
        if one["dataset"] and one["setting"]["scope"] == RPN  # the origin's files name none
    }
    labels = distinct_labels(point.setting for point in points)
    rows = []
    for point in points[::-1]:
        label, bbox = labels[point.setting], point.result["results"]["bbox"]
        rpn = None if point.setting.image else of_rpn.get(point.setting.in_scope(RPN))
        both = [rpn, point.result]
        rows.append(
            [
                label,
                _rate(bits_per_pixel(point.result)),
                f"{point.smaller:.1f}",
                *(cell for one in both for cell in _ap_and_drop(one, clean)),
                *("-" if bbox.get(key) is None else f"{bbox[key]:.1f}" for key in OVERALL[3:]),
                *_by_level(point.setting),
            ]
        )
    return _grid(
        [
            [
                "sent",
                "bits per pixel",
                "times smaller",
                "AP, rpn",
                "drop %",
                "AP, pyramid",
                "drop %",
                *OVERALL[3:],
                *KINDS,
            ],
            *rows,
        ]
    )


def _by_level(setting: Setting) -> list[str]:
    """``KINDS`` of all levels, a word each: ``1 2 2 1 -``; one where all are alike, none where
    there is nothing to say."""
    columns = columns_of(setting.by_level())
    cells = []
    for kind in KINDS:
        values = [columns[f"{level}_{kind}"] for level in setting.levels]
        if kind == "restore":
            known = [f"{x.upper()} {v}" for x, v in zip(setting.levels, values) if v is not None]
            cells.append(", ".join(known))
            continue
        words = [
            "-" if v is None else str(ratio_to_json(v) if kind == "ratio" else v) for v in values
        ]
        alike = len(set(words)) == 1
        cells.append(words[0].replace("-", "") if alike else " ".join(words))
    return cells


def _rate(value: float | None) -> str:
    """Bits per pixel to three digits."""
    return "-" if value is None else f"{value:#.3g}".rstrip(".")


def _ap_and_drop(result: Mapping[str, Any] | None, clean: Mapping[str, Any]) -> list[str]:
    if result is None or result["results"]["bbox"]["AP"] is None:
        return ["-", "-"]
    value, low, high = drop_interval(result, clean)
    shown = "-" if value is None else f"{value:.1f}"
    if low is not None:
        shown += f" ({low:.1f} to {high:.1f})"
    return [f"{result['results']['bbox']['AP']:.1f}", shown]


def format_key_levels(analysis: Mapping[str, Any]) -> str:
    """What ``keylevels.key_levels`` found: for each scope a table of levels and one of pairs."""
    replicates = analysis["replicates"]
    interval = f" (95 % interval of {replicates} resamples of the images)" if replicates else ""
    parts = [
        f"Points of AP lost with levels at max, 1x1{interval}. Key: surely more than a fifth "
        "of what all five lose."
    ]
    for scope, sizes in analysis["scopes"].items():
        head = ["lost alone", "lost on top of all others", "Shapley", "key"]
        rows = [["scope " + scope, "level", *head]]
        for size, levels in sizes.items():
            key = analysis["key"][scope][size]
            rows += [
                [size, level.upper(), *map(_loss, effects.values()), "key" * (level in key)]
                for level, effects in levels.items()
            ]
            rows.append([size, "all", _loss(analysis["all"][scope][size]), "", "", ""])
        parts += [_grid(rows), _pair_table(analysis["pairs"][scope], "scope " + scope)]
    return "\n\n".join(parts)


def _pair_table(sizes: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """The pair that the origin calls key, and the two pairs that cost most."""
    rows = [[title, "the study's pair", "lost with it", "dearest pairs", "lost with each"]]
    for size, pairs in sizes.items():
        known = [name for name, loss in pairs.items() if loss["value"] is not None]
        dearest = sorted(known, key=lambda name: -pairs[name]["value"])[:2]
        claimed = "+".join(PAIRS.get(size, ()))
        claimed = claimed if claimed in pairs else ""  # of a detector without P2 or P6
        rows.append(
            [
                size,
                claimed.upper() or "-",
                _loss(pairs[claimed]) if claimed else "-",
                ", ".join(dearest).upper() or "-",
                ", ".join(_loss(pairs[name]) for name in dearest) or "-",
            ]
        )
    return _grid(rows)


def _loss(loss: Mapping[str, float | None]) -> str:
    """``12.3 (11.0 to 13.6)`` points; without an interval the value alone."""
    if loss["value"] is None:
        return "-"
    value, low, high = (
        "" if loss[key] is None else f"{loss[key]:.1f}".replace("-0.0", "0.0")
        for key in ("value", "low", "high")
    )
    return f"{value} ({low} to {high})" if low else value


def format_front(rows: Sequence[Mapping[str, Any]], metric: str, by: str) -> str:
    """The front as ``search.row`` tells its points, the cheapest first."""
    head = ["bits per pixel", f"times fewer {by}", metric, "drop %", "95 %", "setting"]
    lines = [
        [
            _rate(row["bits_per_pixel"]),
            f"{row['times_smaller']:.1f}",
            f"{row[metric]:.1f}",
            f"{row['drop_percent']:.2f}",
            "-" if row["drop_low"] is None else f"{row['drop_low']:.2f} to {row['drop_high']:.2f}",
            row["setting"],
        ]
        for row in rows
    ]
    return _grid([head, *lines])
