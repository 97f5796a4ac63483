"""Results as a tidy table, a row a result: CSV, and a pandas DataFrame."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectron2_patch.analysis.costs import side_costs
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.coco import OVERALL
from detectron2_patch.report.records import METRICS, Group, Record, make_groups
from detectron2_patch.settings.labels import columns_for, columns_of
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.utils.files import atomic_write

if TYPE_CHECKING:
    import pandas

_MODEL = ("dataset", "images", "model", "weights", "engine", "scope")
_LAST = (
    "elements_sent",
    "elements_full",
    "bytes",
    "times_smaller",
    "bits_per_pixel",
    *(f"drop_{metric}" for metric in METRICS),
    "drop_AP_percent",
)
_TEXT = ("dataset", "model", "weights", "engine", "scope", "setting", "codec", "fitted")


def make_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """One dict a result, all with the same keys in the same order; None where nothing is known.

    ``p2`` … ``p6`` are ratios (inf: reduced to 1x1; None: not sent), ``AP`` … in percent,
    ``drop_…`` points below the clean pyramid, ``drop_AP_percent`` in percent of it (None where it
    has 0), ``bytes`` of the whole dataset on the wire, None
    in scope ``rpn``, and ``times_smaller`` than P2 to P5 in fp32. ``p2_rank``, ``p2_bits``,
    ``p2_range``, ``p2_restore`` and so on are those of each level, ``codec`` the word of one, and
    ``fitted`` the file's SHA-256. Where costs were given, ``sender_macs_per_pixel`` and so on
    (see ``costs.side_costs``).
    """
    classes = {key for group in groups for record in group.records for key in record.metrics}
    levels = {level for group in groups for r in group.records for level in r.setting.levels}
    first = (*_MODEL, *sorted(levels | set(LEVELS)), "setting", *OVERALL)
    more = columns_for(sorted(levels | set(LEVELS)))
    measured = side_costs(None) if any(group.costs for group in groups) else ()
    columns = (*first, *sorted(classes.difference(OVERALL)), *_LAST, *measured, *more)
    return [
        {column: row.get(column) for column in columns}
        for group in groups
        for record in group.records
        for row in [_row(group, record)]
    ]


def _row(group: Group, record: Record) -> dict[str, Any]:
    drop = group.drop(record)
    whole = group.clean and group.clean.metrics.get("AP")
    return {
        "dataset": group.dataset,
        "images": group.images,
        "model": group.model,
        "weights": group.weights,
        "engine": group.engine,
        "scope": record.scope,
        **dict(zip(record.setting.levels, record.ratios or ())),
        "setting": record.label,
        **record.metrics,
        "elements_sent": record.sent and sum(record.sent.values()),
        "elements_full": record.full and sum(record.full.values()),
        "bytes": record.bytes,
        "times_smaller": record.smaller,
        "bits_per_pixel": record.bits_per_pixel,
        **{f"drop_{metric}": group.drop(record, metric) for metric in METRICS},
        "drop_AP_percent": 100 * drop / whole if drop is not None and whole else None,
        **side_costs(group.cost(record)),
        **columns_of(record.setting.by_level()),
        "fitted": record.setting.fitted or None,
    }


def write_csv(groups: Sequence[Group], path: str | os.PathLike) -> None:
    """Write ``make_rows`` as CSV in UTF-8, whole or not at all; an empty cell is None.

    Raises:
        InputError: the file can't be written.
    """
    rows = make_rows(groups)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode("utf-8"))


def read_table(path: str | os.PathLike) -> pandas.DataFrame:
    """A pandas DataFrame of a result file, or of all below a folder: the columns of ``make_rows``.

    Raises:
        InputError: pandas isn't installed, or there are no results.
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError(
            "read_table needs pandas, which isn't installed; pip install pandas"
        ) from error
    from detectron2_patch.report.inputs import read_inputs

    inputs = read_inputs([Path(path)])
    rows = make_rows(make_groups(inputs.results, inputs.costs))
    frame = pandas.DataFrame(rows)
    frame = frame.where(frame.notna(), math.nan)  # as a CSV of it is read
    numbers = [
        name
        for name in frame.columns
        if name not in _TEXT and not name.endswith(("_range", "_restore"))
    ]
    return frame.astype({name: "float64" for name in numbers})
