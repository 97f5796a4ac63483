"""Work on one item while another's is going on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def overlapped(work: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """``map(work, items)``, in the order of the items, ``threads`` of them at a time.

    An error of the work is raised where its item's turn is.
    """
    if threads < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        running: deque = deque()
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) == threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for one in running:
                one.cancel()
