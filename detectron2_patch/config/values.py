"""What the values that the built-in engine honours have to look like, alone and together."""

from __future__ import annotations

import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from yacs.config import CfgNode

from detectron2_patch.config.defaults import default_values
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS

GROUP_NORM_GROUPS = 32  # detectron2's GN; it has to divide every width


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _all_numbers(values: Any, low: float, high: float = math.inf) -> bool:
    return all(_is_number(value) and low <= value <= high for value in values)


def _rises(values: Any) -> bool:
    return list(values) == sorted(values)


def _are_lists(value: Any) -> bool:
    return len(value) in (1, len(LEVELS)) and all(
        isinstance(part, (list, tuple)) and part and all(_is_number(x) and x > 0 for x in part)
        for part in value
    )


Expectation = tuple[Callable[[Any], bool], str]
POSITIVE: Expectation = (lambda v: _is_number(v) and v > 0, "a number above 0")
NOT_NEGATIVE: Expectation = (lambda v: _is_number(v) and v >= 0, "a number of at least 0")
SHARE: Expectation = (lambda v: _is_number(v) and 0 <= v <= 1, "a number from 0 to 1")
FOUR: Expectation = (lambda v: len(v) == 4 and all(map(POSITIVE[0], v)), "four numbers above 0")
LISTS: Expectation = (_are_lists, "one list of positive numbers, or one for each of P2 to P6")
NAMES: Expectation = (lambda v: all(isinstance(name, str) for name in v), "names of datasets")

# key (a pattern) -> what its value has to be.
RANGES: dict[str, Expectation] = {
    "SEED": (lambda v: v < 2**32, "a whole number below 2**32; below 0 it is drawn anew"),
    "DATASETS.*": NAMES,
    "DATALOADER.NUM_WORKERS": NOT_NEGATIVE,
    "INPUT.MIN_SIZE_TEST": NOT_NEGATIVE,  # 0 leaves images as they are, here and in training
    "INPUT.MAX_SIZE_TEST": POSITIVE,
    "INPUT.MIN_SIZE_TRAIN": (
        lambda v: bool(v) and all(type(side) is int and side >= 0 for side in v),
        "whole numbers of at least 0",
    ),
    "INPUT.MAX_SIZE_TRAIN": POSITIVE,
    "MODEL.PIXEL_MEAN": (lambda v: len(v) == 3 and all(map(_is_number, v)), "three numbers"),
    "MODEL.PIXEL_STD": (
        lambda v: len(v) == 3 and all(map(POSITIVE[0], v)),
        "three numbers above 0",
    ),
    "MODEL.RESNETS.NUM_GROUPS": POSITIVE,
    "MODEL.RESNETS.*CHANNELS": POSITIVE,
    "MODEL.RESNETS.WIDTH_PER_GROUP": POSITIVE,
    "MODEL.FPN.OUT_CHANNELS": POSITIVE,
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": NOT_NEGATIVE,
    "MODEL.ANCHOR_GENERATOR.SIZES": LISTS,
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": LISTS,
    "MODEL.ANCHOR_GENERATOR.OFFSET": (
        lambda v: _is_number(v) and 0 <= v < 1,
        "a number from 0 to below 1",
    ),
    "MODEL.RPN.*_TOPK_*": POSITIVE,
    "MODEL.RPN.NMS_THRESH": SHARE,
    "MODEL.R*.BATCH_SIZE_PER_IMAGE": POSITIVE,
    "MODEL.R*.POSITIVE_FRACTION": SHARE,
    "MODEL.R*.IOU_THRESHOLDS": (
        lambda v: bool(v) and _all_numbers(v, 0, 1) and v[0] > 0 and _rises(v),
        "rising numbers above 0 and up to 1",
    ),
    "MODEL.R*.IOU_LABELS": (
        lambda v: all(label in (-1, 0, 1) for label in v),
        "a list of 0 (background), 1 (object) and -1 (ignored)",
    ),
    "MODEL.R*.SMOOTH_L1_BETA": NOT_NEGATIVE,
    "MODEL.R*.*LOSS_WEIGHT": NOT_NEGATIVE,
    "MODEL.R*.BBOX_REG_WEIGHTS": FOUR,
    "MODEL.ROI_HEADS.*_THRESH_TEST": SHARE,
    "MODEL.ROI_HEADS.NUM_CLASSES": POSITIVE,
    "MODEL.ROI_BOX_HEAD.NUM_FC": POSITIVE,
    "MODEL.ROI_BOX_HEAD.FC_DIM": POSITIVE,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": POSITIVE,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": NOT_NEGATIVE,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": NOT_NEGATIVE,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": POSITIVE,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": POSITIVE,
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": NOT_NEGATIVE,
    "SOLVER.IMS_PER_BATCH": POSITIVE,
    "SOLVER.MAX_ITER": POSITIVE,
    "SOLVER.BASE_LR": POSITIVE,
    "SOLVER.CHECKPOINT_PERIOD": POSITIVE,
    "SOLVER.STEPS": (lambda v: _all_numbers(v, 0) and _rises(v), "rising numbers of at least 0"),
    "SOLVER.WARMUP_ITERS": NOT_NEGATIVE,
    "SOLVER.WARMUP_FACTOR": NOT_NEGATIVE,
    "SOLVER.GAMMA": NOT_NEGATIVE,
    "SOLVER.MOMENTUM": NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY*": NOT_NEGATIVE,
    "SOLVER.BIAS_LR_FACTOR": NOT_NEGATIVE,
    "TEST.DETECTIONS_PER_IMAGE": (lambda v: v >= -1 and v != 0, "a number above 0, or -1 for all"),
}


def expectation(key: str, value: Any) -> str | None:
    """What ``key`` should have been given, where ``value`` isn't that; else ``None``."""
    default = default_values()[key]
    if value is None:  # yacs lets null into any key; only a key that starts as null means it
        return None if default is None else f"a value such as the default, {default!r}"
    for pattern, (holds, words) in RANGES.items():
        if fnmatchcase(key, pattern) and not holds(value):
            return words
    return None


def check_together(cfg: CfgNode, training: bool) -> None:
    """Refuse values that are fine alone and don't fit together.

    Raises:
        InputError: the first keys that don't fit, and what would.
    """
    _check_resnet(cfg.MODEL.RESNETS)
    _check_group_norm(cfg.MODEL)
    _check_anchors(cfg.MODEL.ANCHOR_GENERATOR)
    if training:
        _check_matching(cfg.MODEL)
        _check_sides(cfg.INPUT)
        _check_solver(cfg.SOLVER)


def _check_resnet(resnets: CfgNode) -> None:
    if resnets.DEPTH < 50:  # basic blocks, which have neither groups nor a width of their own
        for key, needed in (("RES2_OUT_CHANNELS", 64), ("NUM_GROUPS", 1)):
            if resnets[key] != needed:
                raise InputError(
                    f"MODEL.RESNETS.{key} is {resnets[key]}; ResNet-{resnets.DEPTH} needs {needed}"
                )


def _check_group_norm(model: CfgNode) -> None:
    resnets = model.RESNETS
    widths = {
        "STEM_OUT_CHANNELS": resnets.STEM_OUT_CHANNELS,
        "RES2_OUT_CHANNELS": resnets.RES2_OUT_CHANNELS,
    }
    if resnets.DEPTH >= 50:
        widths["NUM_GROUPS times WIDTH_PER_GROUP"] = resnets.NUM_GROUPS * resnets.WIDTH_PER_GROUP
    parts_of = {"RESNETS": widths, "FPN": {"OUT_CHANNELS": model.FPN.OUT_CHANNELS}}
    if model.MASK_ON:
        parts_of["ROI_MASK_HEAD"] = {"CONV_DIM": model.ROI_MASK_HEAD.CONV_DIM}
    for section, parts in parts_of.items():
        for name, width in parts.items():
            if model[section].NORM == "GN" and width % GROUP_NORM_GROUPS:
                raise InputError(
                    f"MODEL.{section}.NORM is 'GN', which needs multiples of {GROUP_NORM_GROUPS} "
                    f"channels; MODEL.{section}.{name} is {width}"
                )


def _check_anchors(generator: CfgNode) -> None:
    sizes, ratios = (
        [len(part) for part in (lists * len(LEVELS) if len(lists) == 1 else lists)]
        for lists in (list(generator.SIZES), list(generator.ASPECT_RATIOS))
    )
    counts = {size * ratio for size, ratio in zip(sizes, ratios)}
    if len(counts) > 1:
        raise InputError(
            f"MODEL.ANCHOR_GENERATOR gives {sorted(counts)} anchors by level; the RPN's head is "
            "shared, so each level needs as many"
        )


def _check_matching(model: CfgNode) -> None:
    for section in ("RPN", "ROI_HEADS"):
        bounds, labels = model[section].IOU_THRESHOLDS, model[section].IOU_LABELS
        if len(labels) != len(bounds) + 1:
            raise InputError(
                f"MODEL.{section}.IOU_THRESHOLDS {bounds} and IOU_LABELS {labels} don't fit; give "
                "one label more than thresholds"
            )


def _check_sides(inputs: CfgNode) -> None:
    sides = inputs.MIN_SIZE_TRAIN
    if inputs.MIN_SIZE_TRAIN_SAMPLING == "range" and (len(sides) != 2 or not _rises(sides)):
        raise InputError(
            f"INPUT.MIN_SIZE_TRAIN is {sides}; with INPUT.MIN_SIZE_TRAIN_SAMPLING 'range' give "
            "the smallest and the largest size"
        )


def _check_solver(solver: CfgNode) -> None:
    if solver.NESTEROV and not solver.MOMENTUM:
        raise InputError("SOLVER.NESTEROV needs a SOLVER.MOMENTUM above 0")
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR" and not (
        0 <= solver.BASE_LR_END <= solver.BASE_LR
    ):
        raise InputError(
            f"SOLVER.BASE_LR_END is {solver.BASE_LR_END}; give a number from 0 to SOLVER.BASE_LR "
            f"({solver.BASE_LR})"
        )
    clip = solver.CLIP_GRADIENTS
    for key in ("CLIP_VALUE", "NORM_TYPE"):  # a NORM_TYPE of .inf is the largest entry
        if clip.ENABLED and not clip[key] > 0:
            raise InputError(f"SOLVER.CLIP_GRADIENTS.{key} is {clip[key]}; give a number above 0")
