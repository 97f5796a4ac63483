"""Work that one thread does beside another: the coder beside the detector."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")
_AHEAD = 2  # images that wait for the other thread


class Aside:
    """Does tasks in their order, in a thread, while the caller goes on; a few may wait.

    An error of a task is raised by the next call. To be used in a ``with``.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._pending: list[Future] = []

    def __enter__(self) -> Aside:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                self._wait(0)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def do(self, task: Callable[..., Any], *args: Any) -> None:
        """Have ``task(*args)`` done; waits where too many are waiting."""
        self._wait(_AHEAD - 1)
        self._pending.append(self._pool.submit(task, *args))

    def _wait(self, left: int) -> None:
        while self._pending and (len(self._pending) > left or self._pending[0].done()):
            self._pending.pop(0).result()


def made_ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """``map(make, items)``, both in a thread that is a little ahead of the caller.

    Each is given as soon as it is made, whenever the next item comes.
    """
    done: queue.Queue = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(one: Any) -> None:
        while not stopped.is_set():
            try:
                return done.put(one, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((make(item), None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=work, daemon=True).start()  # it may wait for a pipe for ever
    try:
        while True:
            one, error = done.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield one
    finally:
        stopped.set()
