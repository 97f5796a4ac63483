"""Checkpoints as detectron2 writes them: ``model_0004999.pth``, ``last_checkpoint``."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import atomic_write
from detectron2_patch.weights.checkpoint import read_content

logger = logging.getLogger(__name__)
POINTER = "last_checkpoint"


def save(folder: Path, name: str, state: dict) -> Path:
    """Write ``state`` whole under ``folder``, then point ``last_checkpoint`` at it."""
    path = folder / f"{name}.pth"
    with atomic_write(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's word for a disk that fills
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
    with atomic_write(folder / POINTER) as file:
        file.write(path.name.encode())
    return path


def last_path(folder: Path) -> Path:
    """The newest checkpoint in ``folder``: the one that ``last_checkpoint`` names, or, where that
    is damaged, the one written last.

    Raises:
        InputError: no training has saved one there.
    """
    pointer = folder / POINTER
    if not os.path.lexists(pointer):
        raise InputError(f"--resume found no {pointer}; train first, or set OUTPUT_DIR")
    try:
        path = folder / pointer.read_bytes().decode().strip()
        if not path.is_file():
            raise ValueError("it names no checkpoint")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        written = sorted(folder.glob("model_*.pth"), key=lambda one: one.stat().st_mtime_ns)
        if not written or not pointer.is_file():
            raise InputError(
                f"cannot resume from {pointer}: {reason}; write the name of the newest .pth beside "
                "it into it, or delete it to start afresh"
            ) from error
        logger.warning(
            "%s is damaged (%s): going on from %s, which was written last",
            pointer,
            reason,
            written[-1].name,
        )
        return written[-1]
    return path


def restore(folder: Path, parts: Mapping[str, Any]) -> dict | None:
    """Put ``parts`` (by their names in the checkpoint, each with ``load_state_dict``) into the
    state that a killed training left in ``folder``.

    Returns:
        what the checkpoint holds; ``None`` where there is none.

    Raises:
        InputError: the checkpoint can't be read, or is of another training.
    """
    if not os.path.lexists(folder / POINTER):
        return None
    path = last_path(folder)
    state = read_state(path, parts)
    with of_this_training(path):
        for name, part in parts.items():
            part.load_state_dict(state[name])
            if isinstance(part, torch.optim.Optimizer):
                _check_shapes(part)
    logger.info("resuming from %s, iteration %d", path, state["iteration"] + 1)
    return state


def read_state(path: Path, parts: Collection[str]) -> dict:
    """What a training has saved, with all of ``parts`` in it.

    Raises:
        InputError: the checkpoint can't be read, or lacks something.
    """
    try:
        state = read_content(path)
    except InputError as error:
        reason = str(error).removeprefix(f"weights {path} ").rpartition("; ")[0]
        raise _unusable(path, f"the weights {reason}") from error
    if missing := {*parts, "iteration"} - set(state):
        raise _unusable(path, f"it lacks {', '.join(sorted(missing))}")
    if type(state["iteration"]) is not int or state["iteration"] < 0:
        raise _unusable(path, f"its iteration is {state['iteration']!r}")
    if type(state.get("seed", 0)) is not int:
        raise _unusable(path, f"its seed is {state['seed']!r}")
    for name, tensor in state["model"].items():
        if isinstance(tensor, torch.Tensor) and not torch.isfinite(tensor).all():
            raise _unusable(path, f"its {name} holds NaN or infinity")
    return state


def _check_shapes(optimizer: torch.optim.Optimizer) -> None:
    """Refuse what an optimizer remembers of parameters of another shape, which torch takes."""
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape not in ((), parameter.shape):
                raise ValueError(f"{name} of {tuple(value.shape)} for {tuple(parameter.shape)}")


@contextmanager
def of_this_training(path: Path) -> Iterator[None]:
    """Tell whatever the state of another training makes torch raise.

    Raises:
        InputError: instead of it.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _unusable(path, f"it is of another training ({reason})") from error


def _unusable(path: Path, reason: str) -> InputError:
    return InputError(
        f"cannot resume from {path}: {reason}; give a whole one of this training, or delete "
        f"{POINTER} in OUTPUT_DIR to start afresh"
    )
