"""What this process may use of its machine."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """How many CPU cores this process may use; where the system doesn't tell (macOS, Windows), how
    many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
