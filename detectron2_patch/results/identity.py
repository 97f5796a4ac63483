"""What tells one evaluation from another: a result's file name, and what is comparable.

A result's file name carries what was evaluated and a hash over it, so that only the same
evaluation, done again, replaces a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from detectron2_patch.settings.levels import LEVELS, MAX
from detectron2_patch.utils.json_values import digest


def result_name(result: Mapping[str, Any]) -> str:
    """File name of a result: readable parts, then a hash over everything that tells it apart.

    ``<config>_<dataset>_<engine>_<scope>_cr-<P2>-…-<P6>_<12 hexadecimal digits>.json``, of safe
    ASCII characters and at most 200 of them.
    """
    setting, dataset = result["setting"], result["dataset"]
    identity = digest(
        {
            "setting": setting,
            "dataset": [dataset["name"], dataset["digest"]],
            "weights": result["weights"]["sha256"],
            "config": result["config"]["digest"],
            "engine": result["engine"],
        }
    )
    ratios = (setting["cr"][level] for level in LEVELS)
    shown = "-".join(["cr", *(_shown_ratio(ratio) for ratio in ratios)])
    if "bits" in setting:
        shown += "_bits-" + "-".join(str(setting["bits"].get(level, "x")) for level in LEVELS)
    parts = (
        PurePath(result["config"]["file"] or "defaults").stem,
        dataset["name"],
        result["engine"],
        setting["scope"],
    )
    return "_".join([*(_safe(part)[:32] for part in parts), _safe(shown), identity[:12]]) + ".json"


def _shown_ratio(ratio: int | float | str | None) -> str:
    if ratio is None:  # not sent
        return "x"
    return MAX if ratio == MAX else f"{ratio:.6g}"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip(".-") or "unnamed"


def model_of(result: Mapping[str, Any]) -> tuple[str, ...]:
    """What results have to share to be compared: dataset, weights, configuration and engine."""
    return (
        result["dataset"]["name"],
        result["dataset"]["digest"],
        result["weights"]["sha256"],
        result["config"]["digest"],
        result["engine"],
    )
