"""What a part is given, and where its figures go: written whole after each one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2_patch.utils.files import atomic_write
from detectron2_patch.utils.json_values import json_value
from gpu_parts.sizes import Sizes


@dataclass
class Bench:
    """One part at work.

    Attributes:
        device: as torch names it.
        sizes: how much of everything.
        path: the JSON that ``rows`` and ``checks`` go to.
        rows: lines of the part's table, each with the same columns.
        checks: what has to hold, each ``what``, ``found`` and ``ok``.
    """

    device: str
    sizes: Sizes
    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)

    def row(self, **figures: Any) -> None:
        """A line of the table."""
        self.rows.append(figures)
        self._save()

    def check(self, what: str, found: Any, ok: bool) -> None:
        """Something that has to hold."""
        self.checks.append({"what": what, "found": found, "ok": bool(ok)})
        self._save()

    def _save(self) -> None:
        with atomic_write(self.path) as file:
            file.write(json.dumps(json_value({"rows": self.rows, "checks": self.checks})).encode())
