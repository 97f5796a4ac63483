"""Counts copies of maps from the device to the host."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MANY = 2**17  # elements: a flat tensor of so many is counted as a map, too
_LEAVING = ("cpu", "numpy", "tolist", "__array__")


def is_map(x: Any) -> bool:
    """Whether that may be a map, or several: ``(…, C, h, w)``, and no image of three channels."""
    if not isinstance(x, Tensor):
        return False
    return (x.dim() >= 3 and x.shape[-3] > 3 and x.numel() > 1) or x.numel() >= MANY


class Crossings(TorchDispatchMode):
    """Every operation that takes a map on one kind of device and gives a tensor on another.

    Attributes:
        count: how many there were.
    """

    def __init__(self, source: str = "cuda", target: str = "cpu") -> None:
        super().__init__()
        self.source, self.target, self.count = source, target, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if any(is_map(x) and x.device.type == self.source for x in tree_leaves((args, kwargs))):
            self.count += any(
                isinstance(x, Tensor) and x.device.type == self.target for x in tree_leaves(found)
            )
        return found


class Calls(TorchFunctionMode):
    """The stand-in for a CPU, where nothing crosses: calls on maps that would leave a GPU.

    ``x.to(device)`` can't be told apart there, and counts where it names the CPU.

    Attributes:
        count: how many there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if args and is_map(args[0]):
            named = name == "to" and any(isinstance(x, str) and x == "cpu" for x in args[1:])
            self.count += name in _LEAVING or named
        return func(*args, **(kwargs or {}))


def copies_of_maps(device: str) -> Crossings | Calls:
    """What counts on ``device``, while its block runs::

    with copies_of_maps("cuda") as copies:
        engine.detect(image)
    assert copies.count == 0
    """
    return Crossings() if torch.device(device).type == "cuda" else Calls()
