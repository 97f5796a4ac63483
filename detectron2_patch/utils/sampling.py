"""A few of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """``count`` of ``items`` in their order, spread evenly from the first on; all where there are
    no more."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
