"""What this process may use of its machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """How many CPU cores this process may use; where the system doesn't tell (macOS, Windows), how
    many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Give the calling thread its scheduling policy back at the end, where the system has some.

    SVT-AV1 makes the thread that calls it a real-time one where it may (as root, so in most
    containers): it then keeps every other process from its core for as long as it lives.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)
