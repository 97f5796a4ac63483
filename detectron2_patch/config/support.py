"""Which configuration the built-in engine honours, and what it refuses by name.

A key of the configuration is one of three: it is honoured, it doesn't matter for the task at
hand, or only the values listed here can be honoured. Nothing else runs in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from yacs.config import CfgNode

from detectron2_patch.config import get_cfg, key_values
from detectron2_patch.errors import InputError

RESNET_STAGES = ["res2", "res3", "res4", "res5"]
LEVELS = ["p2", "p3", "p4", "p5", "p6"]

# Keys of parts that no supported detector has, and of files and pictures: never looked at.
UNUSED = (
    "VERSION", "CUDNN_BENCHMARK", "OUTPUT_DIR", "VIS_PERIOD", "SEED", "GLOBAL.*",
    "MODEL.DEVICE", "MODEL.WEIGHTS", "INPUT.MASK_FORMAT", "DATASETS.*", "DATALOADER.NUM_WORKERS",
    "MODEL.RETINANET.*", "MODEL.SEM_SEG_HEAD.*", "MODEL.PANOPTIC_FPN.*", "MODEL.ROI_MASK_HEAD.*",
    "MODEL.ROI_KEYPOINT_HEAD.*", "MODEL.ROI_BOX_CASCADE_HEAD.*", "MODEL.ANCHOR_GENERATOR.ANGLES",
    "MODEL.RESNETS.DEFORM_MODULATED", "MODEL.RESNETS.DEFORM_NUM_GROUPS",
    "MODEL.ROI_BOX_HEAD.CONV_DIM", "MODEL.ROI_BOX_HEAD.FED_LOSS_*", "TEST.KEYPOINT_OKS_SIGMAS",
    "TEST.AUG.MIN_SIZES", "TEST.AUG.MAX_SIZE", "TEST.AUG.FLIP",
)
# Keys that only a training reads.
TRAINING = (
    "SOLVER.*", "DATALOADER.*", "INPUT.*_TRAIN", "INPUT.MIN_SIZE_TRAIN_SAMPLING",
    "INPUT.RANDOM_FLIP", "INPUT.CROP.*", "MODEL.BACKBONE.FREEZE_AT", "MODEL.*.*_TRAIN",
    "MODEL.RPN.BOUNDARY_THRESH", "MODEL.*.IOU_THRESHOLDS", "MODEL.*.IOU_LABELS",
    "MODEL.*.BATCH_SIZE_PER_IMAGE", "MODEL.*.POSITIVE_FRACTION", "MODEL.*.BBOX_REG_LOSS_*",
    "MODEL.*.SMOOTH_L1_BETA", "MODEL.*.LOSS_WEIGHT", "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT",
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", "MODEL.ROI_BOX_HEAD.USE_FED_LOSS",
    "TEST.EVAL_PERIOD", "TEST.PRECISE_BN.*",
)
EVALUATION_IGNORES = UNUSED + TRAINING

# key -> the only values that can be honoured.
ONLY: dict[str, tuple[Any, ...]] = {
    "FLOAT32_PRECISION": ("",),
    "INPUT.FORMAT": ("BGR", "RGB"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "range"),
    "INPUT.RANDOM_FLIP": ("none", "horizontal", "vertical"),
    "INPUT.CROP.ENABLED": (False,),
    "DATALOADER.SAMPLER_TRAIN": ("TrainingSampler",),
    "MODEL.META_ARCHITECTURE": ("GeneralizedRCNN",),
    "MODEL.LOAD_PROPOSALS": (False,),
    "MODEL.MASK_ON": (False,),
    "MODEL.KEYPOINT_ON": (False,),
    "MODEL.BACKBONE.NAME": ("build_resnet_fpn_backbone",),
    "MODEL.BACKBONE.FREEZE_AT": (0, 1, 2, 3, 4, 5),
    "MODEL.RESNETS.DEPTH": (18, 34, 50, 101, 152),
    "MODEL.RESNETS.OUT_FEATURES": (RESNET_STAGES,),
    "MODEL.RESNETS.NORM": ("FrozenBN", "BN", "SyncBN", "GN", ""),
    "MODEL.RESNETS.RES5_DILATION": (1,),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": ([False] * 4,),
    "MODEL.FPN.IN_FEATURES": (RESNET_STAGES,),
    "MODEL.FPN.NORM": ("", "BN", "SyncBN", "GN"),
    "MODEL.FPN.FUSE_TYPE": ("sum", "avg"),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN",),
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead",),
    "MODEL.RPN.IN_FEATURES": (LEVELS,),
    "MODEL.RPN.CONV_DIMS": ([-1],),
    "MODEL.RPN.BOUNDARY_THRESH": (-1,),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": ("smooth_l1",),
    "MODEL.ROI_HEADS.NAME": ("StandardROIHeads",),
    "MODEL.ROI_HEADS.IN_FEATURES": (LEVELS[:4],),
    "MODEL.ROI_BOX_HEAD.NAME": ("FastRCNNConvFCHead",),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": (0,),
    "MODEL.ROI_BOX_HEAD.NORM": ("",),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": ("smooth_l1",),
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": (False,),
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": (False,),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False,),
    "SOLVER.LR_SCHEDULER_NAME": ("WarmupMultiStepLR", "WarmupCosineLR"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
    "SOLVER.REFERENCE_WORLD_SIZE": (0,),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("value", "norm"),
    "TEST.EXPECTED_RESULTS": ([],),
    "TEST.EVAL_PERIOD": (0,),
    "TEST.AUG.ENABLED": (False,),
    "TEST.PRECISE_BN.ENABLED": (False,),
}

Check = Callable[[Any], bool]
POSITIVE: tuple[Check, str] = (lambda v: v > 0, "a number above 0")
NOT_NEGATIVE: tuple[Check, str] = (lambda v: v >= 0, "a number of at least 0")
SHARE: tuple[Check, str] = (lambda v: 0 <= v <= 1, "a number from 0 to 1")
FOUR: tuple[Check, str] = (
    lambda v: len(v) == 4 and all(_is_number(x) and x > 0 for x in v), "four numbers above 0"
)
COLOUR: tuple[Check, str] = (lambda v: len(v) == 3 and all(map(_is_number, v)), "three numbers")
LISTS: tuple[Check, str] = (
    lambda v: len(v) in (1, 5) and all(
        isinstance(part, (list, tuple)) and part and all(_is_number(x) and x > 0 for x in part)
        for part in v
    ),
    "one list of positive numbers, or one for each of P2 to P6",
)
SIDES: tuple[Check, str] = (
    lambda v: bool(v) and all(isinstance(x, int) and x > 0 for x in v), "sizes above 0"
)

# key (a pattern) -> what its value has to be.
RANGES: dict[str, tuple[Check, str]] = {
    "INPUT.MIN_SIZE_TEST": NOT_NEGATIVE,  # 0 leaves images as they are
    "INPUT.MAX_SIZE_TEST": POSITIVE,
    "INPUT.MIN_SIZE_TRAIN": SIDES,
    "INPUT.MAX_SIZE_TRAIN": POSITIVE,
    "DATALOADER.NUM_WORKERS": NOT_NEGATIVE,
    "MODEL.PIXEL_MEAN": COLOUR,
    "MODEL.PIXEL_STD": (lambda v: COLOUR[0](v) and all(x > 0 for x in v), "three numbers above 0"),
    "MODEL.RESNETS.NUM_GROUPS": POSITIVE,
    "MODEL.RESNETS.*CHANNELS": POSITIVE,
    "MODEL.RESNETS.WIDTH_PER_GROUP": POSITIVE,
    "MODEL.FPN.OUT_CHANNELS": POSITIVE,
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": NOT_NEGATIVE,
    "MODEL.ANCHOR_GENERATOR.SIZES": LISTS,
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": LISTS,
    "MODEL.ANCHOR_GENERATOR.OFFSET": (lambda v: 0 <= v < 1, "a number from 0 to below 1"),
    "MODEL.RPN.*_TOPK_*": POSITIVE,
    "MODEL.RPN.NMS_THRESH": SHARE,
    "MODEL.R*.BATCH_SIZE_PER_IMAGE": POSITIVE,
    "MODEL.R*.POSITIVE_FRACTION": SHARE,
    "MODEL.ROI_HEADS.*_THRESH_TEST": SHARE,
    "MODEL.ROI_HEADS.NUM_CLASSES": POSITIVE,
    "MODEL.ROI_BOX_HEAD.NUM_FC": POSITIVE,
    "MODEL.ROI_BOX_HEAD.FC_DIM": POSITIVE,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": POSITIVE,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": NOT_NEGATIVE,
    "MODEL.RPN.BBOX_REG_WEIGHTS": FOUR,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": FOUR,
    "MODEL.R*.SMOOTH_L1_BETA": NOT_NEGATIVE,
    "SOLVER.IMS_PER_BATCH": POSITIVE,
    "SOLVER.MAX_ITER": POSITIVE,
    "SOLVER.BASE_LR": POSITIVE,
    "SOLVER.CHECKPOINT_PERIOD": POSITIVE,
    "SOLVER.WARMUP_ITERS": NOT_NEGATIVE,
    "TEST.DETECTIONS_PER_IMAGE": (lambda v: v >= -1 and v != 0, "a number above 0, or -1 for all"),
}


def check_supported(cfg: CfgNode, training: bool) -> None:
    """Make sure that the built-in engine does what ``cfg`` says.

    Raises:
        InputError: the first key whose value can't be honoured, and what is allowed.
    """
    ignored = UNUSED if training else EVALUATION_IGNORES
    for key, value in key_values(cfg):
        if matches(key, ignored):
            continue
        if key in ONLY and not any(_same(value, allowed) for allowed in ONLY[key]):
            raise InputError(_refusal(key, value, " or ".join(map(repr, ONLY[key]))))
        for pattern, (check, words) in RANGES.items():
            if fnmatchcase(key, pattern) and not _holds(check, value):
                raise InputError(f"{key} is {value!r}; give {words}")
    _check_resnet(cfg.MODEL)
    _check_anchors(cfg.MODEL.ANCHOR_GENERATOR)
    if training:
        _check_matching(cfg.MODEL)


def matches(key: str, patterns: Sequence[str]) -> bool:
    """Whether a key with dots is one of ``patterns`` (``*`` stands for any text)."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _refusal(key: str, value: Any, allowed: str) -> str:
    default = dict(key_values(get_cfg()))[key]
    hint = "" if _same(value, default) else ", or leave the key out"
    return (
        f"{key} is {value!r}, which the built-in engine can't honour; it takes {allowed}: "
        f"set that{hint}"
    )


def _check_resnet(model: CfgNode) -> None:
    resnets = model.RESNETS
    if resnets.DEPTH < 50:
        for key, needed in (("RES2_OUT_CHANNELS", 64), ("NUM_GROUPS", 1)):
            if resnets[key] != needed:
                raise InputError(
                    f"MODEL.RESNETS.{key} is {resnets[key]}; ResNet-{resnets.DEPTH} needs {needed}"
                )
    widths = [("MODEL.RESNETS.NORM", resnets.NORM, resnets.STEM_OUT_CHANNELS),
              ("MODEL.RESNETS.NORM", resnets.NORM, resnets.RES2_OUT_CHANNELS),
              ("MODEL.FPN.NORM", model.FPN.NORM, model.FPN.OUT_CHANNELS)]
    for key, norm, width in widths:
        if norm == "GN" and width % 32:
            raise InputError(f"{key} is 'GN', which needs multiples of 32 channels, not {width}")


def _check_anchors(generator: CfgNode) -> None:
    sizes, ratios = (
        [len(part) for part in (lists * 5 if len(lists) == 1 else lists)]
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
        if len(labels) != len(bounds) + 1 or sorted(bounds) != list(bounds):
            raise InputError(
                f"MODEL.{section}.IOU_THRESHOLDS {bounds} and IOU_LABELS {labels} don't fit; give "
                "rising thresholds and one label more"
            )


def _same(value: Any, allowed: Any) -> bool:
    if isinstance(value, (list, tuple)) and isinstance(allowed, list):
        return list(value) == allowed
    return type(value) is type(allowed) and value == allowed


def _holds(check: Check, value: Any) -> bool:
    try:
        return (not isinstance(value, float) or math.isfinite(value)) and bool(check(value))
    except TypeError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
