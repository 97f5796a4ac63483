"""The JSON of one machine's figures, written whole after each part; and what is left to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import atomic_write
from detectron2_patch.utils.json_values import json_value
from gpu_parts.parts import PARTS

KIND = "detectron2_patch gpu 1"
DONE = "done"


class Record:
    """Parts by name, of one machine and size.

    Args:
        path: the file; what is in it is gone on with.
        machine: see ``machine.describe``.
        small: whether the sizes are those of a test.
        afresh: forget what the file has.

    Raises:
        InputError: the file is of another machine or size, or of another kind.
    """

    def __init__(self, path: Path, machine: dict[str, Any], small: bool, afresh: bool) -> None:
        self.path = path
        fresh = {"kind": KIND, "small": small, "machine": json_value(machine), "parts": {}}
        self.content = fresh if afresh or not path.exists() else self._read()
        differing = [key for key in ("small", "machine") if self.content[key] != fresh[key]]
        if differing:
            raise InputError(
                f"{path} is of another {' and '.join(differing)} (card, driver, versions, size); "
                "name another file with --out, or replace it with --again"
            )

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_bytes())
            if content["kind"] != KIND:
                raise ValueError(content["kind"])
            return content
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path} can't be gone on with ({error!r}); replace it with --again"
            ) from error

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        return self.content["parts"]

    def pending(self) -> list[str]:
        """The parts that have not been finished: never begun, failed, or cut off."""
        return [name for name in PARTS if self.parts.get(name, {}).get("status") != DONE]

    def add(self, name: str, outcome: dict[str, Any]) -> None:
        """Put a part's outcome in its place and write all."""
        self.parts[name] = {"title": PARTS[name].title, **outcome}
        order = list(PARTS)
        self.content["parts"] = dict(sorted(self.parts.items(), key=lambda i: order.index(i[0])))
        with atomic_write(self.path) as file:
            file.write((json.dumps(self.content, indent=1) + "\n").encode())

    def sound(self) -> bool:
        """Whether every part is finished and every check holds."""
        checks = [check for part in self.parts.values() for check in part["checks"]]
        return not self.pending() and all(check["ok"] for check in checks)
