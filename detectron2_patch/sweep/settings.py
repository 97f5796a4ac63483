"""Lists of settings: grids, one level at a time, pairs, and lists from a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

from detectron2_patch.errors import InputError
from detectron2_patch.ratios import LEVELS, parse_cr

Ratios = tuple[float, ...]  # of P2 … P6; inf reduces a map to 1x1
CLEAN: Ratios = (1.0,) * len(LEVELS)


class Setting(NamedTuple):
    """One evaluation: the ratios of P2 … P6 and who reads the degraded maps."""

    ratios: Ratios
    scope: str

    def by_level(self) -> dict[str, float]:
        """The ratios as a mapping, level to ratio."""
        return dict(zip(LEVELS, self.ratios))


def grid(values: Mapping[str, Sequence[float]]) -> list[Ratios]:
    """Every combination of each level's values; a level left out stays at 1. P6 runs fastest."""
    return list(product(*(values.get(level, (1.0,)) for level in LEVELS)))


def one_at_a_time(values: Sequence[float]) -> list[Ratios]:
    """The clean pyramid, then each level alone at each value."""
    return [CLEAN, *(_with({i: value}) for i in range(len(LEVELS)) for value in values)]


def pairs(values: Sequence[float]) -> list[Ratios]:
    """The clean pyramid, then every two levels together, both at each value."""
    return [
        CLEAN,
        *(_with({i: value, j: value})
          for i, j in combinations(range(len(LEVELS)), 2) for value in values),
    ]


def _with(changes: Mapping[int, float]) -> Ratios:
    return tuple(changes.get(i, 1.0) for i in range(len(LEVELS)))


def read_list(path: str | Path) -> list[Ratios]:
    """Ratios from a file: a setting a line as ``--cr`` takes it, ``#`` starts a comment.

    Raises:
        InputError: the file can't be read, or a line holds no setting; names the line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"--cr-list {path}: {reason}; give a file of one setting a line"
        ) from error
    found = []
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            found.append(tuple(parse_cr(words).values()))
        except InputError as error:
            raise InputError(f"--cr-list {path}, line {number}: {error}") from error
    if not found:
        raise InputError(f"--cr-list {path} holds no setting; write one a line, such as 1 1 1 1 4")
    return found


def with_scopes(ratios: Iterable[Ratios], scopes: Sequence[str]) -> list[Setting]:
    """Each list of ratios in each scope, every setting once, in the order given."""
    return list(dict.fromkeys(Setting(one, scope) for scope in scopes for one in ratios))
