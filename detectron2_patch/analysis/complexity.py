"""What a side of the wire works: multiply-accumulates, milliseconds, memory.

Multiply-accumulates are those of convolutions, matrix products and attention, as
``torch.utils.flop_counter`` counts them (two operations each); pooling, sorting and NMS, and all
that an image or video codec does, are none of these: their cost is in the milliseconds.
"""

from __future__ import annotations

import ctypes
import gc
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

T = TypeVar("T")
_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Work:
    """Of one side, for one image.

    Attributes:
        macs: multiply-accumulates an image pixel.
        milliseconds: the median of several runs.
        memory: bytes at the peak above what was held before (weights are); None: not known here.
    """

    macs: float
    milliseconds: float
    memory: int | None


def measure(run: Callable[[], T], pixels: int, repeats: int = 5) -> tuple[T, Work]:
    """What ``run`` gives, and what it takes.

    It runs ``repeats`` + 3 times: to warm up, to count, to watch the memory, and for the time.

    Args:
        pixels: of the image, as it is stored.
    """
    result = run()
    macs = count_macs(run) / pixels
    memory = peak_memory(run)
    return result, Work(macs, milliseconds(run, repeats), memory)


def count_macs(run: Callable[[], object]) -> int:
    """Multiply-accumulates of ``run``."""
    with FlopCounterMode(display=False) as counter, _Decomposed():
        run()
    return counter.get_total_flops() // 2


class _Decomposed(TorchDispatchMode):
    """Shows the counter the products that a composite operation is made of: in inference mode
    torch before 2.4 hands it the whole, which it doesn't know."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        with self:
            made = func.decompose(*args, **kwargs)
        return func(*args, **kwargs) if made is NotImplemented else made


def milliseconds(run: Callable[[], object], repeats: int = 5) -> float:
    """The median of ``repeats`` runs; a GPU's work is waited for."""
    took = []
    for _ in range(repeats):
        _wait()
        start = time.perf_counter()
        run()
        _wait()
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took)


def peak_memory(run: Callable[[], object]) -> int | None:
    """Bytes that ``run`` holds at its peak above what is held before.

    On a GPU's, where torch uses one; else the process's, which Linux alone tells.
    """
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        _wait()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        _wait()
        return torch.cuda.max_memory_allocated() - before
    try:
        _give_back()
        _RESET.write_text("5")  # the peak starts anew
        before = _resident("VmRSS")
        run()
        return max(0, _resident("VmHWM") - before)
    except OSError:
        return None


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _give_back() -> None:
    """Let the C library give its free memory back, which would hide what is used again."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        pass  # a C library that keeps none


def _resident(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if not found:
        raise OSError(f"no {key}")
    return 1024 * int(found[1])
