"""Checkpoint files as tensors by name. Loading a pickle can run code; nothing here does."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detectron2_patch.errors import InputError
from detectron2_patch.weights.arrays import ArrayUnpickler, PickledArray, RefusedGlobal
from detectron2_patch.weights.names import to_detectron2

logger = logging.getLogger(__name__)
AVERAGE = re.compile(r"(?i)(?:^|_)(?:ema|swa|averaged?)(?:_|$)")
ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before
PICKLE_STARTS = (b"\x80", b"(", b"}", b"c")  # protocols from 2 on; a dict or OrderedDict before
PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")
REFUSED_BY_TORCH = re.compile(r"(?:GLOBAL|Unsupported class) ([\w.]+)")


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Tensors by detectron2's names, on the CPU, from ``.pth`` and zoo ``.pkl`` files.

    The content says which of the two a file is, not its ending. A training's other parts
    (optimizer, iteration) are left out; Caffe2's names become detectron2's. Tensors of a
    ``.pth`` are mapped from the file, not read.

    Raises:
        InputError: the file is missing, damaged, no checkpoint, or a pickle that asks for
            anything but arrays and plain containers.
    """
    with _told(path):
        content = _read(Path(path))
        _warn_of_averages(path, content)
        return to_detectron2(_tensors(_unwrap(content)))


def read_content(path: str | Path) -> dict[str, Any]:
    """All that a checkpoint holds, nested and named as it is there, its arrays as tensors.

    Nothing stays mapped: a training that goes on from a file may replace it.

    Raises:
        InputError: as ``read_checkpoint``.
    """
    with _told(path):
        content = _read(Path(path), mmap=False)
        _warn_of_averages(path, content)
        _unwrap(content)  # refuses what is no dict
        return _plain(content)


def _plain(value: Any) -> Any:
    if isinstance(value, PickledArray):
        return value.tensor()
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Turn whatever a file makes Python raise into one line about that file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"weights {path} {error}") from error
    except RefusedGlobal as error:
        raise InputError(_refusal(Path(path), str(error))) from error
    except OSError as error:
        raise InputError(
            f"cannot read weights {path}: {error.strerror or error}; check the name"
        ) from error
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        text = " ".join(str(error).split())
        if refused := REFUSED_BY_TORCH.search(text):
            raise InputError(_refusal(Path(path), refused[1])) from error
        reason = text.rpartition("WeightsUnpickler error: ")[2][:160] or type(error).__name__
        raise InputError(
            f"weights {path} are damaged or no checkpoint: {reason}; give a .pth or .pkl "
            "file with detectron2's names, or fetch it again"
        ) from error


def _read(path: Path, mmap: bool = True) -> Any:
    """What the file holds, arrays as tensors (torch) or ``PickledArray`` (pickle)."""
    with open(path, "rb") as file:
        start = file.read(256)
        file.seek(0)
        if start.startswith(ZIP_MAGIC):
            _check_sums(path)
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
        if start.startswith(LEGACY_MAGIC):
            return torch.load(file, map_location="cpu", weights_only=True)
        if start.startswith(PICKLE_STARTS):
            return ArrayUnpickler(file).load()
    if not start:
        raise InputError("are an empty file; delete it and fetch it again")
    if start.lstrip().lower().startswith(PAGE_STARTS):
        raise InputError("are a web page, not a checkpoint; delete it and fetch the file itself")
    if start[8:9] == b"{":
        raise InputError(
            "are safetensors; save them as torch.save({'model': safetensors.torch.load_file(FILE)}"
            ", 'FILE.pth')"
        )
    raise InputError("are no checkpoint; give a .pth or .pkl file with detectron2's names")


def _check_sums(path: Path) -> None:
    """Refuse an archive whose bytes aren't those that were written, which torch doesn't check."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise InputError(f"are damaged: {damaged} has a wrong checksum; fetch the file again")


def _unwrap(content: Any) -> dict:
    """The state dict: bare, or under ``model`` (zoo, trainings) or ``blobs`` (Caffe2)."""
    if isinstance(content, dict):
        for key in ("model", "blobs"):
            if isinstance(content.get(key), dict):
                return content[key]
        nested = [key for key, value in content.items() if _is_state(value)]
        if nested and not _is_state(content):
            names = " and ".join(repr(key) for key in nested[:4])
            raise InputError(
                f"hold tensors under {names} and nothing under 'model'; save the one to take as "
                f"torch.save({{'model': torch.load(FILE)[{nested[0]!r}]}}, 'NEW.pth')"
            )
        return content
    raise InputError("hold no tensors by name; give a checkpoint with detectron2's names")


def _is_state(value: Any) -> bool:
    """Whether this is tensors by name."""
    return isinstance(value, dict) and any(
        isinstance(entry, (Tensor, PickledArray)) for entry in value.values()
    )


def _warn_of_averages(path: str | Path, content: Any) -> None:
    """A training may keep a moving average of the weights beside them, and its AP is another."""
    if not isinstance(content, dict) or not _is_state(content.get("model")):
        return
    for key in content:
        if AVERAGE.search(str(key)) and key != "model" and content[key]:
            logger.warning(
                "weights %s hold a moving average beside the model, %r: the model is taken; to "
                "evaluate the average, save it as torch.save({'model': torch.load(FILE)[%r]}, "
                "'NEW.pth')",
                path,
                key,
                key,
            )
            return


def _tensors(state: dict) -> dict[str, Tensor]:
    tensors = {}
    for name in list(state):
        value = state.pop(name)  # one by one, so that no file is twice in memory
        if isinstance(value, PickledArray):
            value = value.tensor()
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value
    if not tensors:
        raise InputError("hold no tensors by name; give a checkpoint with detectron2's names")
    return tensors


def _refusal(path: Path, name: str) -> str:
    what = "which could run code (nothing was run)"
    if re.fullmatch(r"numpy\..*\.scalar", name):
        what = "a NumPy number beside the tensors, which torch would unpickle (nothing was run)"
    return (
        f"weights {path} are refused: they ask for {name}, {what}; "
        "save the tensors alone, as torch.save({'model': model.state_dict()}, FILE)"
    )
