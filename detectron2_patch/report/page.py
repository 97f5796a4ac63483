"""The page: one HTML file that holds its figures, its data and its program, and asks for nothing.

Its content security policy lets no request out and runs the two scripts of this package alone,
so a name from a result can't become more than text.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from detectron2_patch.analysis.costs import SIDES
from detectron2_patch.report.figures.style import Figure, show
from detectron2_patch.report.records import (
    METRICS,
    Group,
    Record,
    pareto_front,
    ratio_values,
)
from detectron2_patch.settings.cost import FP32
from detectron2_patch.settings.levels import MAX, span, wire_levels
from detectron2_patch.utils.files import atomic_write

_CLASS = "AP-"


def write_page(
    group: Group,
    figures: Sequence[Figure],
    absent: Sequence[str],
    skipped: Sequence[str],
    drawn: Mapping[str, Sequence[Path]],
    path: str | os.PathLike,
) -> int:
    """Write a group's page; returns its size in bytes.

    Args:
        absent: a sentence for each figure that the data couldn't give.
        skipped: what was left out of the inputs.
        drawn: a figure's name to its files, of which the SVG is put into the page.

    Raises:
        InputError: the file can't be written.
    """
    text = _fill(
        title=f"{group.dataset}: what the levels are worth",
        facts=_facts(group),
        explorer=_asset("explorer.html"),
        figures="".join(_figure(figure, drawn[figure.name]) for figure in figures)
        or "<p>None: the data hold too little.</p>",
        notes=_notes(group, absent, skipped),
        data=page_data(group),
    )
    return _write(text, path)


def write_contents(
    groups: Sequence[Group], names: Sequence[str], skipped: Sequence[str], path: str | os.PathLike
) -> None:
    """Write the page above several groups, which links to theirs in the folders ``names``."""
    links = "".join(
        f'<li><a href="{quote(name)}/index.html">{escape(group.name)}</a>: '
        f"{len(group.records):,} results</li>"
        for group, name in zip(groups, names)
    )
    body = (
        "<p>These results can't be compared with one another: they differ in dataset, weights, "
        f"configuration or engine. Each has a report of its own:</p><ul>{links}</ul>"
        + _list("Left out", skipped)
    )
    text = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f'img-src data:; style-src {_hash(_asset("page.css"))}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,"><title>Reports</title>'
        f"<style>{_asset('page.css')}</style></head><body><h1>Reports</h1>{body}</body></html>\n"
    )
    _write(text, path)


def page_data(group: Group) -> dict[str, Any]:
    """What the explorer works on: the records as columns, and what its controls offer.

    A plain record's ratios are ``1-1-4-1-max``; of another one they are null and ``labels`` has its
    name.
    """
    records, clean, scopes = group.records, group.clean, group.scopes
    full = next((r.full for r in records if r.full is not None), None)
    front = {id(record) for record in pareto_front(group)}
    return {
        "levels": group.levels,
        "values": {
            level: [_ratio(value) for value in values]
            for level, values in ratio_values(records).items()
        },
        "shares": {level: _shares(records, i) for i, level in enumerate(group.levels)},
        "scopes": scopes,
        "metrics": METRICS,
        "images": group.images,
        "clean": {m: clean.metrics.get(m) if clean else None for m in METRICS},
        "wire": span(wire_levels(group.levels), "–"),
        "wire_bytes": full and FP32 * sum(full[level] for level in wire_levels(group.levels)),
        "all_bytes": full and FP32 * sum(full.values()),
        "pictures": [i for i, r in enumerate(records) if r.setting.image],
        "front": [i for i, record in enumerate(records) if id(record) in front],
        "points": {
            "scope": [scopes.index(r.scope) for r in records],
            "cr": ["-".join(map(_ratio, r.ratios)) if r.plain else None for r in records],
            "labels": {i: r.label for i, r in enumerate(records) if not r.plain},
            "ids": {i: r.id for i, r in enumerate(records) if not r.plain},
            **{metric: [r.metrics.get(metric) for r in records] for metric in METRICS},
            "bytes": [r.bytes for r in records],
            "smaller": [r.smaller for r in records],
            "kept": [
                sum(r.sent.values()) / sum(r.full.values()) if r.sent and r.full else None
                for r in records
            ],
            "bits_per_pixel": [r.bits_per_pixel for r in records],
            "costs": _costs(group),
        },
        "classes": _classes(group),
    }


def _costs(group: Group) -> dict[int, list[float]]:
    """Row to multiply-accumulates a pixel and milliseconds of the sender, then of the receiver."""
    return {
        i: [cost[side][name] for side in SIDES for name in ("macs_per_pixel", "milliseconds")]
        for i, record in enumerate(group.records)
        if (cost := group.cost(record)) is not None
    }


def _shares(records: Sequence[Record], index: int) -> dict[str, float]:
    """Ratio to the share of a level's elements that it keeps, where a result tells."""
    level = records[0].setting.levels[index]
    return {
        _ratio(r.ratios[index]): r.sent[level] / r.full[level]
        for r in records
        if r.plain and r.sent and r.full and r.full[level]
    }


def _classes(group: Group) -> dict[str, Any]:
    """What each class has, and loses with each level alone at the largest ratio there is."""
    clean = group.clean
    if clean is None:
        return {"head": [], "rows": [], "note": ""}
    scope = group.scopes[-1]
    worst = [_worst_alone(group, scope, i) for i in range(len(group.levels))]
    head = ["class", "clean AP"]
    head += [
        f"{level.upper()} at {_ratio(r.ratios[i]) if r else '–'}"
        for i, (level, r) in enumerate(zip(group.levels, worst))
    ]
    names = [key for key in clean.metrics if key.startswith(_CLASS)]
    rows = [
        [name[len(_CLASS) :], clean.metrics[name], *(r and group.drop(r, name) for r in worst)]
        for name in names
    ]
    return {
        "head": head,
        "rows": rows,
        "note": "Points of AP that each class loses when one level is damaged alone, scope "
        f"{scope}.",
    }


def _worst_alone(group: Group, scope: str, index: int) -> Record | None:
    alone = [
        r
        for r in group.records
        if r.plain
        and r.scope == scope
        and r.ratios[index] > 1
        and all(ratio == 1 for i, ratio in enumerate(r.ratios) if i != index)
    ]
    return max(alone, key=lambda record: record.ratios[index], default=None)


def _ratio(ratio: float) -> str:
    return MAX if math.isinf(ratio) else f"{ratio:.10g}"


def _facts(group: Group) -> str:
    clean = group.clean
    facts = [
        (
            "Dataset",
            group.dataset if group.images is None else f"{group.dataset}, {group.images:,} images",
        ),
        ("Model", f"{group.model}, weights {group.weights}"),
        ("Engine", group.engine),
        ("Scopes", " and ".join(group.scopes)),
        ("Results", f"{len(group.records):,}"),
        (
            "Clean pyramid",
            "no result"
            if clean is None
            else ", ".join(f"{metric} {show(clean.metrics.get(metric))}" for metric in METRICS),
        ),
    ]
    return "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in facts)


def _figure(figure: Figure, paths: Sequence[Path]) -> str:
    svg = next(path for path in paths if path.suffix == ".svg").read_bytes()
    missing = f' <span class="missing">No result for {escape(", ".join(figure.missing))}.</span>'
    return (
        f'<figure class="drawn" id="{figure.name}">'
        f'<img alt="{escape(figure.caption)}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(svg).decode("ascii")}">'
        f"<figcaption>{escape(figure.caption)}{missing if figure.missing else ''} "
        f"<code>figures/{figure.name}.svg</code>, <code>.png</code></figcaption></figure>\n"
    )


def _notes(group: Group, absent: Sequence[str], skipped: Sequence[str]) -> str:
    return (
        "<p>AP is COCO's, in percent; small objects have less than 32² pixels, large ones more "
        "than 96². A level at ratio 4 keeps a sixteenth of its elements; max leaves one. Bytes are "
        "what the results counted, or 4 for each element. <code>results.csv</code> has it all as a "
        "table.</p>"
        + _list("Remarks", group.notes)
        + _list("Not drawn", absent)
        + _list("Left out", skipped)
    )


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f"<h3>{title}</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _fill(*, title: str, data: Mapping[str, Any], **parts: str) -> str:
    """The template with its parts, and a policy that admits just them."""
    plot_css, css = _asset("uPlot.min.css"), _asset("page.css")
    plot_js, js = _asset("uPlot.iife.min.js"), _asset("explorer.js")
    plot_js = f"/* uPlot; its licence:\n{_asset('uPlot-LICENSE')}*/\n{plot_js}"
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src {_hash(plot_js)} {_hash(js)}; style-src {_hash(plot_css)} {_hash(css)}"
    )
    # "<" can't end the script element that holds the data
    numbers = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Template(_asset("page.html")).substitute(
        title=escape(title),
        policy=policy,
        data=numbers,
        plot_css=plot_css,
        css=css,
        plot_js=plot_js,
        js=js,
        **parts,
    )


def _hash(text: str) -> str:
    """A script's or style's source in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()}'"


def _asset(name: str) -> str:
    assets = files("detectron2_patch.report").joinpath("assets")
    return assets.joinpath(name).read_text(encoding="utf-8")


def _write(text: str, path: str | os.PathLike) -> int:
    raw = text.encode("utf-8", errors="replace")  # a path can hold half a surrogate pair
    with atomic_write(path) as file:
        file.write(raw)
    return len(raw)
