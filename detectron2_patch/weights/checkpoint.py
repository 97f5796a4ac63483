"""Checkpoint files as tensors by name. Loading a pickle can run code; nothing here does."""

from __future__ import annotations

import logging
import re
import warnings
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
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # of ema_state, modelEMA, ema.module
AVERAGES = {"ema", "swa", "average", "averaged", "avg", "shadow"}
NUMBERS = (".weight", ".bias", ".running_mean", ".running_var")  # are floats in every detector
DEPTH = 3  # dicts within dicts in which tensors are looked for
ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before
PICKLE_STARTS = (b"\x80", b"(", b"}", b"c")  # protocols from 2 on; a dict or OrderedDict before
PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")
NO_TENSORS = "hold no tensors by name; give a checkpoint with detectron2's names"
LFS_START = b"version https://git-lfs"
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
        content = _plain(_read(Path(path), mmap=False))
        _warn_of_averages(path, content)
        state = _unwrap(content)
        if not _count(state):
            raise InputError(NO_TENSORS)
        for name, value in state.items():
            _check_numbers(name, value)
        return content


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
        if "Unsupported operand" in text:
            raise InputError(
                f"weights {path} were saved by a newer pickle protocol, which torch reads only "
                "where code may run; save them again as torch.save({'model': "
                "model.state_dict()}, FILE)"
            ) from error
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
        if _is_safetensors(start):
            raise InputError(
                "are safetensors; save them as torch.save({'model': "
                "safetensors.torch.load_file(FILE)}, 'FILE.pth')"
            )
        if start.startswith(ZIP_MAGIC):
            _check_archive(path)
        with warnings.catch_warnings():  # what torch has to say of a file is said below
            warnings.simplefilter("ignore")
            if start.startswith(ZIP_MAGIC) and mmap and str(path).isprintable():
                return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
            if start.startswith((ZIP_MAGIC, LEGACY_MAGIC)):  # torch maps no name of other bytes
                return torch.load(file, map_location="cpu", weights_only=True)
        if start.startswith(PICKLE_STARTS):
            return ArrayUnpickler(file).load()
    if not start:
        raise InputError("are an empty file; delete it and fetch it again")
    if start.lstrip().lower().startswith(PAGE_STARTS):
        raise InputError("are a web page, not a checkpoint; delete it and fetch the file itself")
    if start.startswith(LFS_START):
        raise InputError(
            "are no checkpoint, but Git LFS's pointer to one; fetch the file itself by git lfs pull"
        )
    raise InputError("are no checkpoint; give a .pth or .pkl file with detectron2's names")


def _is_safetensors(start: bytes) -> bool:
    """Whether a file begins with the length of its JSON, in eight bytes, and that JSON. (A length
    may begin as a pickle does.)"""
    return start[8:9] == b"{" and start[4:8] == bytes(4)


def wrong_checksum(path: Path) -> str | None:
    """The part of a checkpoint whose bytes aren't those that were written, which torch doesn't
    check; None where all are, or where the file has no checksums.

    Raises:
        OSError, zipfile.BadZipFile: the file can't be read, or is cut.
    """
    with open(path, "rb") as file:
        if not file.read(4).startswith(ZIP_MAGIC):
            return None
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


def _check_archive(path: Path) -> None:
    """Refuse an archive that is damaged, or holds something else."""
    if (damaged := wrong_checksum(path)) is not None:
        raise InputError(f"are damaged: {damaged} has a wrong checksum; fetch the file again")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        raise InputError(
            "are a TorchScript program, which can't be taken apart; give the checkpoint that it "
            "was made from"
        )
    if not any(name.endswith("data.pkl") for name in names):
        held = f", but hold {names[0]}" if names else ""
        raise InputError(
            f"are a zip file and no checkpoint of torch{held}; give a .pth or .pkl file with "
            "detectron2's names"
        )


def _unwrap(content: Any) -> dict:
    """The state dict: bare, or under ``model`` (zoo, trainings) or ``blobs`` (Caffe2)."""
    if not isinstance(content, dict):
        raise InputError(NO_TENSORS)
    for key in ("model", "blobs"):
        if isinstance(content.get(key), dict) and _count(content[key]):
            return content[key]
    nested = _states(content)
    if nested and max(nested.values()) > _count(content):
        names = " and ".join(_place(keys) for keys in list(nested)[:4])
        raise InputError(
            f"hold tensors under {names} and nothing under 'model'; save the one to take as "
            f"torch.save({{'model': torch.load(FILE){_index(next(iter(nested)))}}}, 'NEW.pth')"
        )
    return content


Place = tuple[str, ...]  # keys, each within what the one before names


def _states(value: dict, within: Place = ()) -> dict[Place, int]:
    """Where in a dict there are tensors by name, and how many; the most come first."""
    found = {}
    for key, entry in value.items():
        if isinstance(key, str) and isinstance(entry, dict):
            place = (*within, key)
            if count := _count(entry):
                found[place] = count
            elif len(place) < DEPTH:
                found |= _states(entry, place)
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _count(state: dict) -> int:
    """Of tensors by name."""
    return sum(
        isinstance(name, str) and isinstance(entry, (Tensor, PickledArray))
        for name, entry in state.items()
    )


def _place(keys: Place) -> str:
    return repr("/".join(keys))


def _index(keys: Place) -> str:
    return "".join(f"[{key!r}]" for key in keys)


def _warn_of_averages(path: str | Path, content: Any) -> None:
    """A training may keep a moving average of the weights beside them, and its AP is another."""
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        return
    for place in _states(content):
        if place[0] != "model" and AVERAGES.intersection(map(str.lower, WORDS.findall(place[0]))):
            logger.warning(
                "weights %s hold a moving average beside the model, %s: the model is taken; to "
                "evaluate the average, save it as torch.save({'model': torch.load(FILE)%s}, "
                "'NEW.pth')",
                path,
                _place(place),
                _index(place),
            )
            return


def _check_numbers(name: Any, value: Any) -> None:
    """Refuse a tensor that no parameter can be made of."""
    if not isinstance(value, Tensor):
        return
    kind = None
    if value.is_quantized:
        kind = "quantised"
    elif value.layout != torch.strided:
        kind = "sparse"
    elif value.is_meta:
        kind = "without values (on the device meta)"
    elif value.is_complex() or (str(name).endswith(NUMBERS) and not value.is_floating_point()):
        kind = str(value.dtype)
    if kind is not None:
        raise InputError(
            f"hold {name} as a tensor that is {kind}; save the detector in plain floats, as "
            "torch.save({'model': model.float().state_dict()}, FILE)"
        )


def _tensors(state: dict) -> dict[str, Tensor]:
    tensors = {}
    for name in list(state):
        value = state.pop(name)  # one by one, so that no file is twice in memory
        if isinstance(value, PickledArray):
            value = value.tensor()
        if isinstance(name, str) and isinstance(value, Tensor):
            _check_numbers(name, value)
            tensors[name] = value
    if not tensors:
        raise InputError(NO_TENSORS)
    return tensors


def _refusal(path: Path, name: str) -> str:
    what = "which could run code (nothing was run)"
    if name.startswith("numpy."):
        thing = "number" if name.endswith(".scalar") else "array"
        what = f"a NumPy {thing} beside the tensors, which torch would unpickle (nothing was run)"
    return (
        f"weights {path} are refused: they ask for {name}, {what}; "
        "save the tensors alone, as torch.save({'model': model.state_dict()}, FILE)"
    )
