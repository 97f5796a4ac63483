"""The Pareto front: what no other beats in both cost and value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def front(
    items: Iterable[T], cost: Callable[[T], float], value: Callable[[T], float], tie: Any = None
) -> list[T]:
    """By rising cost, and rising value: of equal cost the best one.

    Args:
        tie: orders items of equal cost and value, so that the first of them counts.
    """
    kept: list[T] = []
    for item in sorted(items, key=lambda one: (cost(one), -value(one), tie(one) if tie else 0)):
        if not kept or value(item) > value(kept[-1]):
            kept.append(item)
    return kept
