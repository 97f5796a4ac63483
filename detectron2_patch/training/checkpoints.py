"""Checkpoints as detectron2 writes them: ``model_0004999.pth``, ``last_checkpoint``."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import torch

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import atomic_write

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
    """The newest checkpoint in ``folder``.

    Raises:
        InputError: no training has saved one there, or ``last_checkpoint`` is damaged.
    """
    pointer = folder / POINTER
    if not pointer.exists():
        raise InputError(f"--resume found no {pointer}; train first, or set OUTPUT_DIR")
    try:
        name = pointer.read_bytes().decode().strip()
        if not (folder / name).is_file():
            raise ValueError("it names no checkpoint")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot resume from {pointer}: {reason}; write the name of the newest .pth beside it "
            "into it, or delete it to start afresh"
        ) from error
    return folder / name


def load_last(folder: Path) -> dict | None:
    """The state that a killed training left in ``folder``; ``None`` where there is none.

    Raises:
        InputError: the checkpoint that ``last_checkpoint`` names can't be read.
    """
    pointer = folder / POINTER
    if not pointer.exists():
        return None
    path = last_path(folder)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"model", "optimizer", "scheduler", "iteration"} - set(state)
    except Exception as error:  # torch.load raises by the kind of damage
        raise InputError(
            f"cannot resume from {path}: {' '.join(str(error).split())[:200]}; "
            f"delete {pointer} to start afresh"
        ) from error
    if missing:
        raise InputError(
            f"cannot resume from {path}: it lacks {', '.join(sorted(missing))}; "
            f"delete {pointer} to start afresh"
        )
    logger.info("resuming from %s, iteration %d", path, state["iteration"] + 1)
    return state
