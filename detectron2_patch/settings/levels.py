"""The compress ratios of a pyramid, as people write them and as the code holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detectron2_patch.errors import InputError

LEVELS = ("p2", "p3", "p4", "p5", "p6")  # of most detectors, and where nothing else is said
ANY = ("p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8")  # a level's number is log2 of its stride
MAX = "max"
SCOPES = ("rpn", "pyramid")  # who reads the degraded maps: the RPN alone, or the box head too
_USE = "five ratios (P2 to P6), or six of which the first is 1, each a number >= 1 or 'max'"
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def check_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """The levels of a pyramid: two or more that follow each other, finest first.

    Raises:
        InputError: other names, or another order.
    """
    start = ANY.index(levels[0]) if levels and levels[0] in ANY else 0
    if len(levels) < 2 or tuple(levels) != ANY[start : start + len(levels)]:
        raise InputError(
            f"levels {' '.join(map(str, levels)) or 'none'}; give two or more that follow each "
            f"other, finest first, of {', '.join(ANY)}"
        )
    return tuple(levels)


def how_many(levels: Sequence[str]) -> str:
    """``five (P2 to P6)``."""
    return f"{_NUMBERS[len(levels)]} ({span(levels)})"


def span(levels: Sequence[str], between: str = " to ") -> str:
    """``P2 to P5``."""
    return f"{levels[0].upper()}{between}{levels[-1].upper()}"


def wire_levels(levels: Sequence[str]) -> tuple[str, ...]:
    """The levels that a sender would have to send: all, but P6 where it is the subsample of P5."""
    return tuple(level for level in levels if level != subsampled(levels))


def subsampled(levels: Sequence[str]) -> str | None:
    """The level that is every second row and column of the one before: P6 where it is the last of
    an R-CNN's. Where P7 follows, or P2 isn't read, they are convolutions."""
    return "p6" if tuple(levels) == LEVELS else None


def parse_cr(entries: Sequence[str | float], levels: Sequence[str] = LEVELS) -> dict[str, float]:
    """Read ``--cr``: level to linear ratio; ``inf`` stands for ``max`` (the map becomes 1x1).

    As many entries as levels, finest first. Six for P2 … P6 are read from the right, so that the
    origin's ``1 1 1 1 1 4`` means what its README says, P6 at 4; its first entry names no level.

    Raises:
        InputError: another number of entries, or an entry that is no ratio.
    """
    of_origin = tuple(levels) == LEVELS
    use = _USE
    if not of_origin:
        count, names = how_many(levels).split(" ", 1)
        use = f"{count} ratios {names}, each a number >= 1 or 'max'"
    if len(entries) != len(levels) and not (of_origin and len(entries) == 6):
        one = f" ({entries[0]!r})" if len(entries) == 1 else ""
        raise InputError(f"--cr got {len(entries)} ratio{'s' * (not one)}{one}; give {use}")
    ratios = [parse_ratio(entry, use=use) for entry in entries]
    if len(ratios) > len(levels) and ratios[0] != 1:
        raise InputError(
            f"--cr with six ratios starts with {entries[0]!r}, which names no level; give {use}"
        )
    return dict(zip(levels, ratios[-len(levels) :]))


def parse_ratio(entry: str | float, flag: str = "--cr", use: str = _USE) -> float:
    """One ratio; ``inf`` for ``max``.

    Raises:
        InputError: no number >= 1; names ``flag`` and says ``use``.
    """
    if entry == MAX:
        return math.inf
    try:
        plain = not isinstance(entry, str) or (entry.isascii() and "_" not in entry)
        ratio = float(entry) if plain else math.nan  # float() reads 1_0 and full-width digits
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
