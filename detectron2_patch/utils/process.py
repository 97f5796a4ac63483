"""A command's process: streams that lose nothing in silence, and the signals that end it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

PATIENCE = 5  # seconds


_quiet: list[bool] = [False]


def be_quiet(quiet: bool) -> None:
    """From now on this process shows no progress."""
    _quiet[0] = quiet


def is_quiet() -> bool:
    """Whether it shows none."""
    return _quiet[0]


class Stopped(KeyboardInterrupt):
    """A signal that asks this process to end; ``number`` is its."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Unwritten(OSError):
    """What was to be printed can't be."""


class _Stream:
    """A text stream whose failures are its owner's to choose; all else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._guarded():
            return self._stream.write(text)
        return len(text)

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._guarded():
            self._stream.flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        raise NotImplementedError


class _Output(_Stream):
    """stdout: a failure ends the command."""

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unwritten(error.errno, error.strerror) from error


class _Said(_Stream):
    """stderr: words about a result, which is not lost for them."""

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with suppress(OSError, ValueError):
            yield


def mend_streams() -> None:
    """For a command: what a terminal can't show is escaped; a stdout that is closed, full or no
    longer read raises ``Unwritten``, and such a stderr takes everything."""
    _open_descriptors()
    for number, name, wrapped in ((1, "stdout", _Output), (2, "stderr", _Said)):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell
            stream = open(number, "w", encoding="utf-8", closefd=False)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, wrapped(stream))


def _open_descriptors() -> None:
    """Fill the numbers that the shell closed, so that no file of ours gets one and with it what
    libraries print. Nothing can be written to such a stdout, as before."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            found = os.open(os.devnull, mode)
            if found != number:
                os.dup2(found, number)
                os.close(found)


def drop_stdout() -> None:
    """Send what is left to nowhere: Python would try again, and fail, at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block a signal raises ``Stopped``, so that files are closed and removed. Those
    that follow at once, as of a terminal and of a launcher, don't interrupt that; one that comes
    after ``PATIENCE`` ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    first: list[float] = []
    _late.clear()

    def stop(number: int, frame: FrameType | None) -> None:
        first.append(time.monotonic())
        if len(first) == 1:
            if _starting:
                _late.append(number)
                return
            raise Stopped(number)
        if first[-1] - first[0] > PATIENCE:
            os._exit(128 + number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_starting: list[bool] = []
_late: list[int] = []


@contextmanager
def shielded() -> Iterator[None]:
    """Processes that are started in the block see no Ctrl-C and no hang-up: a terminal sends those
    to all, and the one that started them ends them. A signal to this one waits for the block's
    end, since a process that is half started would miss what it is to be told."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGHUP])
    _starting.append(True)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _starting.pop()
    if _late:
        raise Stopped(_late.pop())


def stop_at_import() -> None:
    """Until a command is under way a signal ends it at once, in one line."""

    def stop(number: int, frame: FrameType | None) -> None:
        if "RANK" not in os.environ:  # of several processes the launcher says it
            name = signal.Signals(number).name
            with suppress(OSError):
                os.write(2, f"interrupted by {name}; no file is half written\n".encode())
        os._exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, stop)
