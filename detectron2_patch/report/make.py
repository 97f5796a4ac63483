"""Makes a report: reads, draws, and writes the page, the figures and the table."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2_patch.report import page
from detectron2_patch.report.figures import NAMES, draw_all, style
from detectron2_patch.report.inputs import Inputs, read_inputs
from detectron2_patch.report.records import Group, identify, make_groups
from detectron2_patch.report.table import write_csv

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
        if inputs.skipped:
            logger.warning("left out %d files: %s", len(inputs.skipped), "; ".join(inputs.skipped))
        groups = make_groups(inputs.results)
        write_csv(groups, folder / "results.csv")
        if len(groups) == 1:
            _write_group(groups[0], inputs, folder)
        else:
            logger.warning("the results are mixed, %d reports: %s", len(groups),
                           "; ".join(group.name for group in groups))
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
    key_levels = _matching(group, inputs.key_levels)
    figures, absent = draw_all(group, key_levels)
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
    logger.info("%s: %d results, %d figures, page of %.1f MB", group.name, len(group.records),
                len(figures), size / 1e6)


def _matching(group: Group, analyses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The key-level analysis of a group's dataset, weights and engine, of all its files."""
    wanted = (*group.identity[:2], group.identity[3], group.identity[5])
    merged: dict[str, Any] = {"scopes": {}, "key": {}}
    for analysis in analyses:
        name, digest, _, sha256, _, engine = identify({"config": None, **analysis})
        if (name, digest, sha256, engine) == wanted:
            for part, found in merged.items():
                found.update(analysis.get(part) or {})
    return merged
