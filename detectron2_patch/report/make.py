"""Makes a report: reads, draws, and writes the page, the figures and the table."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2_patch.analysis.key_levels import key_levels
from detectron2_patch.errors import InputError
from detectron2_patch.report import page
from detectron2_patch.report.figures import NAMES, draw_all, style
from detectron2_patch.report.inputs import Inputs, read_inputs
from detectron2_patch.report.records import Group, make_groups, tells_of
from detectron2_patch.report.table import write_csv
from detectron2_patch.results.identity import model_of

logger = logging.getLogger(__name__)


def make_report(paths: Sequence[str], output: str) -> Path:
    """Write ``index.html``, ``results.csv`` and ``figures/`` to the folder ``output``.

    Results that can't be compared (two datasets, models, configurations or engines) get a report
    each in a folder below it, and ``index.html`` links to them.

    Raises:
        InputError: nothing to report on, matplotlib is missing, or the folder can't be written.
    """
    folder = Path(output)
    with style.style():
        inputs = read_inputs(paths)
        groups = make_groups(inputs.results, inputs.costs)
        inputs.skipped += _unmatched(inputs, groups)
        if inputs.skipped:
            logger.warning("left out %d: %s", len(inputs.skipped), "; ".join(inputs.skipped))
        write_csv(groups, folder / "results.csv")
        if len(groups) == 1:
            _write_group(groups[0], inputs, folder)
        else:
            logger.warning(
                "the results are mixed, %d reports: %s",
                len(groups),
                "; ".join(group.name for group in groups),
            )
            names = folder_names(groups)
            for group, name in zip(groups, names):
                _write_group(group, inputs, folder / name)
            page.write_contents(groups, names, inputs.skipped, folder / "index.html")
    return folder / "index.html"


def folder_names(groups: Sequence[Group]) -> list[str]:
    """A folder for each group: of safe characters, and each another one."""
    names: list[str] = []
    for group in groups:
        text = f"{group.dataset}_{group.model}_{group.weights}_{group.engine}"
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:100] or "unnamed"
        names.append(name if name not in names else f"{name}_{len(names) + 1}")
    return names


def _write_group(group: Group, inputs: Inputs, folder: Path) -> None:
    figures, absent = draw_all(group, key_levels_of(group, inputs))
    for sentence in absent:
        logger.info("not drawn: %s", sentence)
    for figure in figures:
        if figure.missing:
            logger.info("%s: no result for %s", figure.name, ", ".join(figure.missing))
    drawn = {figure.name: style.write(figure, folder / "figures") for figure in figures}
    for name in set(NAMES).difference(drawn):  # of an earlier report, from other results
        for suffix in ("png", "svg"):
            (folder / "figures" / f"{name}.{suffix}").unlink(missing_ok=True)
    size = page.write_page(group, figures, absent, inputs.skipped, drawn, folder / "index.html")
    logger.info(
        "%s: %s results, %d figures, page of %.1f MB",
        group.name,
        f"{len(group.records):,}",
        len(figures),
        size / 1e6,
    )


def key_levels_of(group: Group, inputs: Inputs) -> dict[str, Any]:
    """The key-level analysis of a group: from the files given, else from its 32 combinations.

    Returns:
        ``scopes`` and ``key`` as ``keylevels`` makes them, of the scopes that can be known.
    """
    merged: dict[str, Any] = {"scopes": {}, "key": {}}
    analyses = [one for one in inputs.key_levels if _tells_of(one, group)]
    for scope in group.scopes:
        if any(scope in one["scopes"] for one in analyses):
            continue
        try:
            analyses.append(
                key_levels(one for one in group.results if one["setting"]["scope"] == scope)
            )
        except InputError:  # not every combination was evaluated, which the report says
            pass
    for part, found in merged.items():
        for one in analyses:
            found.update(one.get(part) or {})
    return merged


def _tells_of(analysis: Mapping[str, Any], group: Group) -> bool:
    """Of its dataset, weights and engine; an analysis tells no configuration, and an older one
    no content of its images."""
    found, wanted = model_of({**analysis, "config": None}), group.identity._replace(config=None)
    if None in (found.content, wanted.content):
        found, wanted = found._replace(content=None), wanted._replace(content=None)
    return found == wanted


def _unmatched(inputs: Inputs, groups: Sequence[Group]) -> list[str]:
    """What was read and has no place in any report."""
    return [
        f"a key-level analysis of {(one['dataset'] or {}).get('name')}, {one['engine']}: none of "
        "the results are of its dataset, weights and engine"
        for one in inputs.key_levels
        if not any(_tells_of(one, group) for group in groups)
    ] + [
        f"costs of {one.conditions.get('dataset')}, {one.conditions.get('engine')}: none of the "
        "results are of its weights and engine"
        for one in inputs.costs
        if not any(tells_of(one, group) for group in groups)
    ]
