"""Fill a detector from a checkpoint, or say precisely what doesn't fit."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from detectron2_patch.errors import InputError
from detectron2_patch.settings.halves import WHOLE
from detectron2_patch.weights.checkpoint import read_checkpoint
from detectron2_patch.weights.names import match_by_ending
from detectron2_patch.weights.parts import belongs

logger = logging.getLogger(__name__)
FEW = 3
COUNTERS = ".num_batches_tracked"  # a norm's count of batches, which decides nothing
DERIVED = ("pixel_mean", "pixel_std", "anchor_generator.cell_anchors")  # the configuration's
STATISTICS = {".running_mean": torch.zeros_like, ".running_var": torch.ones_like}
CLASS_SCORES = "roi_heads.box_predictor.cls_score.bias"
BACKBONE = "backbone.bottom_up."
_OF_TORCHVISION = "backbone.body.conv1.weight"


def load_weights(
    model: nn.Module, path: str | Path, *, require_all: bool = True, part: str = WHOLE
) -> list[str]:
    """Copy a checkpoint into ``model``, cast to the model's types.

    Args:
        require_all: every parameter has to be in the file. Without it a training starts from
            what is there: parts that are missing or have another shape keep their random start.
        part: that ``model`` is of a detector; the file's other tensors aren't looked at.

    Returns:
        the names that were not loaded, empty with ``require_all``.

    Raises:
        InputError: parameters are missing, have other shapes, or hold NaN or infinity. The
            model is then as it was.
    """
    wanted = model.state_dict()
    tensors = read_checkpoint(path)
    given = _prepare({n: tensor for n, tensor in tensors.items() if belongs(n, part)}, wanted)
    fitting = {
        name: tensor.to(wanted[name].dtype)
        for name, tensor in given.items()
        if name in wanted and tensor.shape == wanted[name].shape
    }
    lacking = [name for name in wanted if name not in fitting and not name.endswith(COUNTERS)]
    if lacking and (require_all or not fitting):
        raise InputError(
            f"weights {path} don't fit the configuration: {_describe(lacking, given, wanted)}"
            f"{hint(given, wanted)}"
        )
    for name, tensor in fitting.items():
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"weights {path}: {name} holds NaN or infinity; use another checkpoint"
            )
    if lacking:
        logger.warning(
            "%s: %d of the model's %d tensors start at random: %s",
            path,
            len(lacking),
            len(wanted),
            _describe(lacking, given, wanted),
        )
    unused = [name for name in given if name not in wanted and not name.endswith(COUNTERS)]
    if unused:
        logger.warning(
            "%s: %d tensors have no place in the model: %s%s",
            path,
            len(unused),
            ", ".join(unused[:FEW]),
            " …" if len(unused) > FEW else "",
        )
    model.load_state_dict(fitting, strict=False)
    return lacking


def _prepare(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under the model's names, folded norms completed."""
    tensors = {
        name: tensor
        for name, tensor in tensors.items()
        if not any(derived in name for derived in DERIVED)
    }
    if not any(name in wanted for name in tensors):  # a part saved on its own
        tensors = match_by_ending(tensors, wanted)
    # Caffe2 folded the statistics into scale and shift: mean 0 and variance 1, as detectron2
    # sets them. A file that has statistics at all has to have every one.
    if not any(name.endswith(tuple(STATISTICS)) for name in tensors):
        for name in wanted:
            norm, dot, parameter = name.rpartition(".")
            if dot + parameter in STATISTICS and f"{norm}.weight" in tensors:
                tensors[name] = STATISTICS[dot + parameter](wanted[name])
    return tensors


def _describe(lacking: list[str], given: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    parts = [
        f"{name} is {tuple(given[name].shape)} in the file and {tuple(wanted[name].shape)} in "
        "the model"
        if name in given
        else f"{name} is missing"
        for name in lacking[:FEW]
    ]
    more = f" and {len(lacking) - FEW} more" if len(lacking) > FEW else ""
    return "; ".join(parts) + more


def hint(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """What to do about the commonest misfits."""
    if _OF_TORCHVISION in given and _OF_TORCHVISION not in wanted:
        return (
            "; the file is torchvision's own detector: add its --config-file, such as "
            "configs/torchvision/fasterrcnn_resnet50_fpn.yaml"
        )
    if prefixes := _prefixes(given, wanted):
        named = " or ".join(map(repr, prefixes[:FEW]))
        return (
            f"; its names begin with {named}: save the tensors of one without that, as "
            f"torch.save({{'model': {{k.removeprefix({prefixes[0]!r}): v for k, v in "
            f"STATE.items() if k.startswith({prefixes[0]!r})}}}}, 'NEW.pth')"
        )
    if not any(name in wanted for name in given):
        return (
            f"; the file holds no detector of this configuration, {next(iter(given), 'nothing')} "
            "for one; give a checkpoint of detectron2, or of this project"
        )
    if all(name.startswith(BACKBONE) or name not in wanted for name in given):
        return "; the file holds no detector (a backbone starts a training, with --train)"
    ours, theirs = wanted.get(CLASS_SCORES), given.get(CLASS_SCORES)
    if ours is not None and theirs is not None and ours.shape != theirs.shape:
        classes = theirs.numel() - 1  # the last is the background
        return f"; the file's detector has {classes} classes: set MODEL.ROI_HEADS.NUM_CLASSES"
    return ""


def _prefixes(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    """What stands before each of the model's names in the file, where most are there so."""
    last = next(reversed(wanted))
    found = [name.removesuffix(last) for name in given if name.endswith(f".{last}")]
    half = len(wanted) // 2
    return [one for one in found if sum(one + name in given for name in wanted) > half]
