"""Seconds and memory on either device."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import torch


def is_cuda(device: str) -> bool:
    """Whether that is a GPU."""
    return torch.device(device).type == "cuda"


def synchronise(device: str) -> None:
    """Wait for what the GPU still has to do: its calls return before they are done."""
    if is_cuda(device):
        torch.cuda.synchronize(device)


def timed(task: Callable[[], Any], device: str) -> tuple[float, Any]:
    """The seconds that ``task()`` takes, and what it returns."""
    synchronise(device)
    start = time.perf_counter()
    found = task()
    synchronise(device)
    return time.perf_counter() - start, found


def forget_peak(device: str) -> None:
    """Begin to look for the peak of memory anew; on the CPU it is the process's, from its start."""
    if is_cuda(device):
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: str) -> float:
    """Most MiB held at once: of tensors on the GPU, of the whole process on the CPU."""
    if is_cuda(device):
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
