"""A command's process: streams that never fail, and the signals that end it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """A signal that asks this process to end; ``number`` is its."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def mend_streams() -> None:
    """Let output degrade where it would fail: what a terminal can't show is escaped, and a closed
    stream takes everything."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Send what is left to nowhere: Python would try again, and fail, at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block the signals raise ``Stopped``, so that files are closed and removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_at_import() -> None:
    """Until a command is under way a signal ends it at once, in one line."""

    def stop(number: int, frame: FrameType | None) -> None:
        if "RANK" not in os.environ:  # of several processes the launcher says it
            name = signal.Signals(number).name
            os.write(2, f"interrupted by {name}; no file is half written\n".encode())
        os._exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, stop)
