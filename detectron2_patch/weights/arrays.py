"""Pickled NumPy arrays without pickle's danger: no class of the file's choosing is ever called.

A pickle names functions and calls them. The few names that arrays need are answered here by
stand-ins which only keep what they are given; NumPy itself sees nothing but raw numbers. (Its
own unpickling would trust a file's word on what bytes are: numbers or pointers.)
"""

from __future__ import annotations

import pickle
import re
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

_NUMBERS = re.compile(r"f[248]|[iu][1248]|b1")
_BYTE_ORDERS = {"<": "<", ">": ">"}  # others: "|", one byte, and "=", this machine's


class PickledDtype:
    """``numpy.dtype``: a kind with a size (``f4``), then a state that holds the byte order."""

    def __init__(self, code: str = "", *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = _BYTE_ORDERS.get(state[1], "=")


class PickledArray:
    """``numpy.ndarray``: made empty, then given its shape, dtype and bytes."""

    def __init__(self, *_: Any) -> None:
        self.shape: tuple = (0,)
        self.dtype, self.raw = PickledDtype(), b""
        self.order: Literal["C", "F"] = "C"
        self.axes: tuple | None = None

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, in_fortran_order, self.raw = state
        self.order = "F" if in_fortran_order else "C"

    def tensor(self) -> Tensor | None:
        """The numbers; ``None`` for an array of anything else.

        Raises:
            ValueError: the bytes don't fill the shape.
        """
        if not _NUMBERS.fullmatch(self.dtype.code):
            return None
        raw = self.raw.encode("latin1") if isinstance(self.raw, str) else self.raw
        array = np.frombuffer(raw, self.dtype.order + self.dtype.code)
        array = array.reshape(self.shape, order=self.order)
        if self.axes is not None:
            array = array.transpose(self.axes)
        # a copy, since the bytes can't be written to
        return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays, as ``PickledArray``, and plain containers; refuses all else."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")  # the oldest files are Python 2's

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise RefusedGlobal(f"{module}.{name}")
        return _STAND_INS[module, name]


class RefusedGlobal(pickle.UnpicklingError):
    """A pickle asked for something that could run code; the message is its name."""


def _scalar(dtype: PickledDtype, raw: Any = b"") -> PickledArray:
    return _from_buffer(raw, dtype, (), "C")


def _from_buffer(
    raw: Any, dtype: PickledDtype, shape: tuple, order: str, axes: tuple | None = None
) -> PickledArray:
    """How protocol 5 spells arrays; order ``K`` is C's before the axes are exchanged."""
    array = PickledArray()
    array.raw, array.dtype, array.shape = raw, dtype, shape
    array.order, array.axes = ("F" if order == "F" else "C"), axes
    return array


def _encode(text: str, _: str = "latin1") -> bytes:
    """``_codecs.encode``: how protocols below 3 spell bytes, always in Latin-1."""
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """``bytes()``: how they spell none."""
    return b""


_STAND_INS = {
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _STAND_INS |= {
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): PickledDtype,
        (f"{_core}.multiarray", "_reconstruct"): PickledArray,
        (f"{_core}.multiarray", "scalar"): _scalar,
        (f"{_core}.numeric", "_frombuffer"): _from_buffer,
    }
