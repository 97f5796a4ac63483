"""The file that costs of settings are kept in, and how they are told.

``analysis.sides`` measures them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.files import atomic_write

KIND = "detectron2_patch costs"
Cost = dict[str, Any]


class Costs:
    """Costs by setting, as a file of ``tools/cost.py`` holds them.

    A cost doesn't depend on the scope: what crosses the wire is the same in both.
    """

    def __init__(self, conditions: Mapping[str, Any], costs: Iterable[tuple[Setting, Cost]] = ()):
        self.conditions = dict(conditions)
        self._costs = {_key(setting): cost for setting, cost in costs}

    def get(self, setting: Setting) -> Cost | None:
        return self._costs.get(_key(setting))

    def add(self, setting: Setting, cost: Cost) -> None:
        self._costs[_key(setting)] = cost

    def __len__(self) -> int:
        return len(self._costs)

    def write(self, path: str | os.PathLike) -> None:
        """Write the file, whole or not at all."""
        rows = [{"setting": one.to_json(), **cost} for one, cost in self._costs.items()]
        document = {"kind": KIND, "conditions": self.conditions, "costs": rows}
        with atomic_write(Path(path)) as file:
            file.write((json.dumps(document, indent=1) + "\n").encode())


def _key(setting: Setting) -> Setting:
    return Setting(setting.treatments, fitted=setting.fitted, levels=setting.levels)


def read_costs(path: str | os.PathLike) -> Costs:
    """The costs of a file that ``tools/cost.py`` wrote.

    Raises:
        InputError: it can't be read or is no such file.
    """
    try:
        data = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise InputError(f"{path}: {reason}; give a file that tools/cost.py wrote") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InputError(f"{path} holds no costs; give a file that tools/cost.py wrote")
    try:
        rows = [
            (
                Setting.from_json(row["setting"]),
                {side: {k: row[side][k] for k in COSTS} for side in SIDES},
            )
            for row in data["costs"]
        ]
        conditions = dict(data["conditions"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); make it again by tools/cost.py") from error
    return Costs(conditions, rows)


SIDES = ("sender", "receiver")
COSTS = ("macs_per_pixel", "milliseconds", "coding_milliseconds", "memory_bytes")
COLUMNS = ("MACs a pixel", "ms", "of it coding", "MiB")


def cost_cells(cost: Cost | None) -> list[str]:
    """The figures of sender and receiver, in the order of ``COLUMNS``, as people read them."""
    if cost is None:
        return ["-"] * 2 * len(COLUMNS)
    return [
        cell
        for side in (cost[name] for name in SIDES)
        for cell in (
            f"{side['macs_per_pixel']:,.0f}",
            f"{side['milliseconds']:.0f}",
            f"{side['coding_milliseconds']:.0f}",
            "-" if side["memory_bytes"] is None else f"{side['memory_bytes'] / 2**20:.0f}",
        )
    ]


def side_costs(cost: Cost | None) -> dict[str, float | None]:
    """``sender_macs_per_pixel`` … ``receiver_memory_bytes``; None where it wasn't measured."""
    return {
        f"{side}_{name}": None if cost is None else cost[side][name]
        for side in SIDES
        for name in COSTS
    }
