"""Fill a detector from a checkpoint, or say precisely what doesn't fit."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from detectron2_patch.errors import InputError
from detectron2_patch.weights.checkpoint import read_checkpoint
from detectron2_patch.weights.names import PREFIX

logger = logging.getLogger(__name__)
# Names that some files have and no model needs, or the other way round.
COUNTERS = ".num_batches_tracked"
DERIVED = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors")
FEW = 3


def load_weights(model: nn.Module, path: str | Path, *, require_all: bool = True) -> list[str]:
    """Copy a checkpoint into ``model``, cast to the model's types.

    Args:
        require_all: every parameter has to be in the file. Without it a training starts from
            what is there: parts that are missing or have another shape keep their random start.

    Returns:
        the names that were not loaded, empty with ``require_all``.

    Raises:
        InputError: parameters are missing, have other shapes, or hold NaN or infinity.
    """
    given, wanted = _to_model_names(read_checkpoint(path), model), model.state_dict()
    fitting = {k: v for k, v in given.items() if k in wanted and v.shape == wanted[k].shape}
    for name, value in fitting.items():
        if not torch.isfinite(value).all():
            raise InputError(f"weights {path}: {name} holds NaN or infinity; use another file")
    lacking = [k for k in wanted if k not in fitting and not k.endswith(COUNTERS)]
    if lacking and (require_all or len(fitting) == 0):
        raise InputError(f"weights {path} don't fit the configuration: "
                         f"{_describe(lacking, given, wanted)}")
    if lacking:
        logger.warning("%s: %d of %d tensors are not in the file or have another shape and start "
                       "at random: %s", path, len(lacking), len(wanted), _few(lacking))
    unused = [k for k in given if k not in wanted and not k.endswith(COUNTERS)]
    if unused:
        logger.warning("%s: %d tensors have no place in the model: %s",
                       path, len(unused), _few(unused))
    model.load_state_dict(fitting, strict=False)
    return lacking


def _to_model_names(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Put a bare backbone's names where the detector has its backbone; drop derived tensors."""
    names = set(model.state_dict())
    return {
        PREFIX + name if name not in names and PREFIX + name in names else name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(DERIVED)
    }


def _describe(lacking: list[str], given: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    parts = [
        f"{name} is {tuple(given[name].shape)} in the file and {tuple(wanted[name].shape)} in "
        "the model" if name in given else f"{name} is missing"
        for name in lacking[:FEW]
    ]
    more = f" and {len(lacking) - FEW} more" if len(lacking) > FEW else ""
    heads = all(".box_predictor." in name for name in lacking)
    hint = "; set MODEL.ROI_HEADS.NUM_CLASSES to the checkpoint's classes" if heads else ""
    return "; ".join(parts) + more + hint


def _few(names: list[str]) -> str:
    return ", ".join(names[:FEW]) + (" …" if len(names) > FEW else "")
