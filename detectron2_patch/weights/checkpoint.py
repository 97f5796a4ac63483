"""Checkpoint files as tensors by name. Loading a pickle runs code; nothing here does."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.errors import InputError
from detectron2_patch.weights.names import from_caffe2, is_caffe2

ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before

_NUMPY_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray",
                  "numpy.core.numeric", "numpy._core.numeric")
_NUMPY_NAMES = ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")
_ADMITTED = {("collections", "OrderedDict"), ("_codecs", "encode")} | {
    (module, name) for module in _NUMPY_MODULES for name in _NUMPY_NAMES
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers, and refuses all else before it can run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which may run code")
        return super().find_class(module, name)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, from ``.pth`` and zoo ``.pkl`` files, told by their content.

    A training's other parts (optimizer, iteration) are left out; Caffe2's names become
    detectron2's.

    Raises:
        InputError: the file is missing, damaged, no checkpoint, or a pickle that asks for
            anything but arrays and plain containers.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            content = _read(file)
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"cannot read weights {path}: {error.strerror}; check MODEL.WEIGHTS"
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its bytes lead to
        raise InputError(
            f"weights {path} can't be loaded: {_reason(error)}; fetch the file again"
        ) from error
    return _tensors(content, path)


def _read(file: BinaryIO) -> Any:
    start = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    if not start:
        raise pickle.UnpicklingError("the file is empty")
    if start.startswith(ZIP_MAGIC) or start == LEGACY_MAGIC:
        return torch.load(file, map_location="cpu", weights_only=True)
    return ArrayUnpickler(file, encoding="latin1").load()  # Python 2 wrote the oldest


def _reason(error: Exception) -> str:
    """What went wrong, short; of torch's long advice only the global that it refused."""
    text = " ".join(str(error).split())
    refused = re.search(r"GLOBAL (\S+)", text)
    if refused:
        return f"it asks for {refused[1]}, which may run code"
    return text[:160] or type(error).__name__


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint: bare, or under ``model`` (zoo, trainings) or ``blobs``."""
    for key in ("model", "blobs"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {}
    if isinstance(content, dict):
        for name, value in content.items():
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
                value = torch.from_numpy(np.ascontiguousarray(value))
            if isinstance(name, str) and isinstance(value, Tensor):
                tensors[name] = value
    if not tensors:
        raise InputError(f"weights {path} hold no tensors by name; give a detectron2 checkpoint")
    return from_caffe2(tensors) if is_caffe2(tensors) else tensors
