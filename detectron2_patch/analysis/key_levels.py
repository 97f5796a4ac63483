"""Which levels of the pyramid matter for which sizes, from every combination of lost levels.

Each of the five levels is clean or degraded to 1x1 ("max"): 32 combinations. Every number is a
weighted sum of what they lose against the clean one, so that replicates give its interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np

from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.box_matching import SIZES
from detectron2_patch.evaluation.intervals import interval, samples
from detectron2_patch.results.identity import check_one_model
from detectron2_patch.settings.levels import LEVELS, MAX, SCOPES
from detectron2_patch.settings.setting import Setting

KIND = "detectron2_patch key levels"
PAIRS = {"APs": ("p2", "p3"), "APm": ("p4", "p5"), "APl": ("p5", "p6")}  # the origin's key levels
COMMAND = "tools/sweep.py --grid 1 max --scope {} --bootstrap 1000"


def key_levels(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The effect of each level on AP, APs, APm and APl, in each scope that ``results`` have.

    Returns:
        kind, dataset, weights, engine, replicates, and by scope and size:

        - scopes: level to ``alone``, lost where only it is degraded, ``with_others``, lost by it on
          top of the four others, and ``shapley``, the mean of what it loses over all orders in
          which the levels can go; the five ``shapley`` add up to ``all``;
        - all: lost where all five are degraded;
        - pairs: "p2+p3" … to what is lost where these two are;
        - key: the levels that surely cost more than a fifth of ``all``: the 95 % interval of
          Shapley value minus fifth lies above 0 (without replicates: the value does).

        A loss is ``{"value", "low", "high"}`` in points; None is unknown.

    Raises:
        InputError: several models or datasets, or a combination is missing.
    """
    levels, found = _combinations(results)
    scopes = {scope: _complete(found, scope, levels) for scope in _scopes(found)}
    some = next(iter(scopes.values()))
    analysis: dict[str, Any] = {
        "kind": KIND,
        **{key: some[0][key] for key in ("dataset", "weights", "engine")},
        "replicates": min(samples(one, "AP").shape[1] - 1 for one in scopes.values()),
        "scopes": {},
        "all": {},
        "pairs": {},
        "key": {},
    }
    for scope, chosen in scopes.items():
        sizes = {size: _analyse(chosen, size, levels) for size in SIZES}
        for part in ("scopes", "all", "pairs", "key"):
            analysis[part][scope] = {size: one[part] for size, one in sizes.items()}
    return analysis


def shapley_weights(level: int, count: int = len(LEVELS)) -> np.ndarray:
    """(2 ** count,) what each combination's loss contributes to the Shapley value of a level."""
    weights = np.zeros(1 << count)
    for others in range(1 << count):
        if not others >> level & 1:
            gone = others.bit_count()
            share = factorial(gone) * factorial(count - gone - 1) / factorial(count)
            weights[others | 1 << level] += share
            weights[others] -= share
    return weights


def _analyse(
    chosen: Sequence[Mapping[str, Any]], size: str, levels: Sequence[str]
) -> dict[str, Any]:
    """Of the results of one scope: a combination is a number whose bit i is set where level i is
    lost."""
    percent = samples(chosen, size)
    lost = percent[0] - percent  # (combinations, 1 + B)
    every = len(lost) - 1
    weights = [shapley_weights(i, len(levels)) for i in range(len(levels))]
    shapley = {level: one @ lost for level, one in zip(levels, weights)}
    return {
        "scopes": {
            level: {
                "alone": _loss(lost[1 << i]),
                "with_others": _loss(lost[every] - lost[every ^ 1 << i]),
                "shapley": _loss(shapley[level]),
            }
            for i, level in enumerate(levels)
        },
        "all": _loss(lost[every]),
        "pairs": {
            f"{one}+{other}": _loss(lost[_number((one, other), levels)])
            for one, other in combinations(levels, 2)
        },
        "key": [
            level
            for level, values in shapley.items()
            if _above_zero(values - lost[every] / len(levels))
        ],
    }


def _number(lost: Iterable[str], levels: Sequence[str]) -> int:
    return sum(1 << levels.index(level) for level in lost)


def _loss(values: np.ndarray) -> dict[str, float | None]:
    found = (None if v is None else round(v, 6) + 0.0 for v in interval(values))
    return dict(zip(("value", "low", "high"), found))


def _above_zero(values: np.ndarray) -> bool:
    value, low, _ = interval(values)
    return value is not None and (value if low is None else low) > 0


def _combinations(
    results: Iterable[Mapping[str, Any]],
) -> tuple[tuple[str, ...], dict[tuple[str, int], Mapping[str, Any]]]:
    """The detector's levels, and scope and combination to its result, of the one model and dataset.

    Of the same evaluation twice, the one with more replicates counts.
    """
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    models = []
    levels: tuple[str, ...] = LEVELS
    for result in results:
        setting = Setting.from_json(result["setting"])
        # the origin's files say nothing of their dataset
        if not result["dataset"] or not setting.is_plain:
            continue
        if not set(setting.ratios) <= {1.0, math.inf}:
            continue
        models.append(result)
        levels = setting.levels
        lost = [level for level, ratio in zip(levels, setting.ratios) if ratio != 1]
        key = setting.scope, _number(lost, levels)
        if key not in found or _replicates(result) > _replicates(found[key]):
            found[key] = result
    check_one_model(models)
    return levels, found


def _replicates(result: Mapping[str, Any]) -> int:
    return (result.get("bootstrap") or {"replicates": 0})["replicates"]


def _scopes(found: Mapping[tuple[str, int], Any]) -> list[str]:
    scopes = [scope for scope in SCOPES if any(s == scope and one for s, one in found)]
    if not scopes:
        raise InputError(
            "no result with levels at max; make them with " + COMMAND.format(" ".join(SCOPES))
        )
    return scopes


def _complete(
    found: Mapping[tuple[str, int], Mapping[str, Any]], scope: str, levels: Sequence[str]
) -> list[Mapping[str, Any]]:
    """The results of a scope, 32 of five levels; the clean pyramid gives one answer in both."""
    count = 1 << len(levels)
    clean = [found[s, 0] for s in (scope, *SCOPES) if (s, 0) in found]
    chosen = [max(clean, key=_replicates) if clean else None]
    chosen += [found.get((scope, one)) for one in range(1, count)]
    missing = [one for one, result in enumerate(chosen) if result is None]
    if missing:
        ratios = " ".join(MAX if missing[0] >> i & 1 else "1" for i in range(len(levels)))
        raise InputError(
            f"scope {scope} lacks {len(missing)} of {count} combinations, such as "
            f"--cr {ratios}; make them with {COMMAND.format(scope)}"
        )
    return [result for result in chosen if result is not None]
