"""Reads what a report is made from, files and folders: results, key-level analyses, costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2_patch.analysis import costs, key_levels
from detectron2_patch.errors import InputError
from detectron2_patch.results.file import load_file, result_files
from detectron2_patch.settings.levels import ANY, SCOPES

_MAKE = "make some with tools/train_net.py or tools/sweep.py, or give their folder"
ESTIMATES = ("alone", "with_others", "shapley")


@dataclass
class Inputs:
    """``results``, ``key_levels`` and ``costs`` as their files hold them; ``skipped``: what wasn't
    read."""

    results: list[dict[str, Any]] = field(default_factory=list)
    key_levels: list[dict[str, Any]] = field(default_factory=list)
    costs: list[costs.Costs] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_inputs(paths: Sequence[str | Path]) -> Inputs:
    """Read result files and folders of them.

    Below a folder, a file that is partly written or something else is left out and named in
    ``skipped``; a path given by name has to be right.

    Raises:
        InputError: a path is missing or no result, or there are no results at all.
    """
    found = Inputs()
    for path in map(Path, paths):
        if not path.is_dir():
            _read(path, found)
            continue
        files = result_files(path)
        if not files:
            raise InputError(f"no results in {path}; {_MAKE}")
        for file in files:
            try:
                _read(file, found)
            except InputError as error:
                found.skipped.append(str(error))
    if not found.results:
        skipped = f" ({len(found.skipped)} files left out: {'; '.join(found.skipped)})"
        left_out = skipped if found.skipped else ""
        raise InputError(f"no results in {', '.join(map(str, paths))}{left_out}; {_MAKE}")
    return found


def _read(file: Path, found: Inputs) -> None:
    kind = _kind(file)
    if kind == key_levels.KIND:
        found.key_levels.append(_key_levels(file))
    elif kind == costs.KIND:
        found.costs.append(costs.read_costs(file))
    else:
        found.results += load_file(file)


def _kind(file: Path) -> str | None:
    """What a file that was made from results says it is; None of any other file."""
    if file.suffix != ".json":
        return None
    try:
        text = file.read_bytes()
        if not any(kind.encode() in text for kind in (key_levels.KIND, costs.KIND)):
            return None  # most are results, which aren't read twice
        data = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None  # load_file says what is wrong
    return data.get("kind") if isinstance(data, dict) else None


def _key_levels(file: Path) -> dict[str, Any]:
    data = json.loads(file.read_bytes())
    if not (
        _is_analysis(data.get("scopes"))
        and "engine" in data
        and all(isinstance(data.get(key), dict) for key in ("dataset", "weights", "key"))
    ):
        raise InputError(
            f"{file} is no whole key-level analysis; make it again with tools/key_levels.py"
        )
    return data


def _is_analysis(scopes: Any) -> bool:
    try:
        return all(
            scope in SCOPES
            and level in ANY
            and all(_is_estimate(estimates[name]) for name in ESTIMATES)
            for scope, metrics in scopes.items()
            for levels in metrics.values()
            for level, estimates in levels.items()
        )
    except (AttributeError, KeyError, TypeError):
        return False


def _is_estimate(estimate: Mapping[str, Any]) -> bool:
    values = [estimate.get(name) for name in ("value", "low", "high")]
    return all(value is None or type(value) in (int, float) for value in values)
