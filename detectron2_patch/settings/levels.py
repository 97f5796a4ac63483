"""The compress ratios of a pyramid, as people write them and as the code holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detectron2_patch.errors import InputError

LEVELS = ("p2", "p3", "p4", "p5", "p6")
MAX = "max"
SCOPES = ("rpn", "pyramid")  # who reads the degraded maps: the RPN alone, or the box head too
_USE = "five ratios (P2 to P6), or six of which the first is 1, each a number >= 1 or 'max'"


def parse_cr(entries: Sequence[str | float]) -> dict[str, float]:
    """Read ``--cr``: level to linear ratio; ``inf`` stands for ``max`` (the map becomes 1x1).

    Five entries are P2 … P6. Six are read from the right, so that the origin's
    ``1 1 1 1 1 4`` means what its README says, P6 at 4; its first entry names no level.

    Raises:
        InputError: another number of entries, or an entry that is no ratio.
    """
    if len(entries) not in (5, 6):
        raise InputError(f"--cr got {len(entries)} ratios; give {_USE}")
    ratios = [parse_ratio(entry) for entry in entries]
    if len(ratios) == 6 and ratios[0] != 1:
        raise InputError(
            f"--cr with six ratios starts with {entries[0]!r}, which names no level; give {_USE}"
        )
    return dict(zip(LEVELS, ratios[-5:]))


def parse_ratio(entry: str | float, flag: str = "--cr", use: str = _USE) -> float:
    """One ratio; ``inf`` for ``max``.

    Raises:
        InputError: no number >= 1; names ``flag`` and says ``use``.
    """
    if entry == MAX:
        return math.inf
    try:
        ratio = float(entry)
    except (TypeError, ValueError):
        ratio = math.nan
    if not (math.isfinite(ratio) and ratio >= 1):
        raise InputError(f"{flag} got {str(entry)!r}, which is no ratio; give {use}")
    return ratio


def ratio_to_json(ratio: float) -> int | float | str:
    """A ratio as results files hold it: ``4``, ``1.5`` or ``"max"``."""
    if math.isinf(ratio):
        return MAX
    return int(ratio) if ratio == int(ratio) else ratio
