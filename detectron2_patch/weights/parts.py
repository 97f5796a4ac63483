"""The two halves of a detector's checkpoint: the backbone, which a sender has, and the heads, which
a receiver has. Either may be a file of its own; what both were cut from tells that they belong
together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detectron2_patch.settings.halves import BACKBONE, HEADS, PARTS, WHOLE
from detectron2_patch.utils.files import sha256
from detectron2_patch.weights.checkpoint import read_checkpoint, read_content

_PREFIX = "backbone."
_CUT_FROM = "cut_from"  # beside "model" in a file of one half: ``identity`` of the whole one
# What the configuration says, and counters: no part of what tells a detector from another.
_DERIVED = ("pixel_mean", "pixel_std", "anchor_generator.cell_anchors", "num_batches_tracked")


def belongs(name: str, part: str) -> bool:
    """Whether a parameter of that name is of ``part``."""
    return part == WHOLE or name.startswith(_PREFIX) == (part == BACKBONE)


def cut(path: str | Path, part: str) -> dict[str, Any]:
    """What to save as the checkpoint of one part of the detector of ``path``.

    Raises:
        InputError: the file can't be read.
    """
    tensors = read_checkpoint(path)
    kept = {
        name: tensor.contiguous()
        for name, tensor in tensors.items()
        if belongs(name, part) and not name.endswith("num_batches_tracked")
    }
    return {"model": kept} if part == WHOLE else {"model": kept, _CUT_FROM: identity(path)}


def identity(path: str | Path) -> dict[str, str]:
    """What tells a detector from others: ``sha256`` of its whole checkpoint, and digests of its
    ``backbone`` and its ``heads``, as far as the file of one half can tell.

    Raises:
        InputError: the file can't be read.
    """
    tensors = read_checkpoint(path)
    halves = {
        part: {name: tensor for name, tensor in tensors.items() if belongs(name, part)}
        for part in (BACKBONE, HEADS)
    }
    found = {"sha256": sha256(path)}
    found |= {part: _digest(half) for part, half in halves.items() if half}
    if len(found) < 3:
        told = read_content(path).get(_CUT_FROM)
        if isinstance(told, dict) and all(isinstance(one, str) for one in told.values()):
            found = {**told, **{part: found[part] for part in PARTS if part in found}}
    return found


def same_detector(one: Mapping[str, str], other: Mapping[str, str]) -> bool | None:
    """Whether two ``identity`` are of one detector; None where they have nothing to compare."""
    shared = [part for part in (BACKBONE, HEADS) if part in one and part in other]
    return all(one[part] == other[part] for part in shared) if shared else None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(_kept(tensors)):
        value = tensors[name].detach().to(torch.float32).contiguous()
        found.update(f"{name} {tuple(value.shape)}".encode())
        found.update(value.numpy().astype("<f4", copy=False).tobytes())
    return found.hexdigest()


def _kept(names: Iterable[str]) -> list[str]:
    return [name for name in names if not any(one in name for one in _DERIVED)]
