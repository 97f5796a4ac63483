"""Which configuration the built-in engine honours, and what it refuses by name.

A key of the configuration is one of three: it is honoured, it doesn't matter for the task at
hand, or only the values listed here can be honoured. Nothing else runs in silence. What an
honoured value has to look like is in ``values.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from yacs.config import CfgNode

from detectron2_patch.config.defaults import default_values, key_values
from detectron2_patch.config.reading import one_line, shorten
from detectron2_patch.config.values import check_together, expectation
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS

RESNET_STAGES = ["res2", "res3", "res4", "res5"]

# Keys of parts that no supported detector has, or of choices refused below: nobody reads them.
UNUSED = (
    "VERSION",
    "CUDNN_BENCHMARK",
    "VIS_PERIOD",
    "GLOBAL.*",
    "INPUT.MASK_FORMAT",
    "INPUT.CROP.TYPE",
    "INPUT.CROP.SIZE",
    "DATASETS.PROPOSAL_FILES_*",
    "DATASETS.PRECOMPUTED_*",
    "DATALOADER.REPEAT_*",
    "SOLVER.NUM_DECAYS",
    "MODEL.RETINANET.*",
    "MODEL.SEM_SEG_HEAD.*",
    "MODEL.PANOPTIC_FPN.*",
    "MODEL.ROI_KEYPOINT_HEAD.*",
    "MODEL.ROI_BOX_CASCADE_HEAD.*",
    "MODEL.ANCHOR_GENERATOR.ANGLES",
    "MODEL.RESNETS.DEFORM_MODULATED",
    "MODEL.RESNETS.DEFORM_NUM_GROUPS",
    "MODEL.ROI_BOX_HEAD.CONV_DIM",
    "MODEL.ROI_BOX_HEAD.FED_LOSS_*",
    "TEST.KEYPOINT_OKS_SIGMAS",
    "TEST.AUG.MIN_SIZES",
    "TEST.AUG.MAX_SIZE",
    "TEST.AUG.FLIP",
    "TEST.PRECISE_BN.NUM_ITER",
)
# Keys of a part that only some have: nobody reads them where it is off.
MASKS = ("MODEL.ROI_MASK_HEAD.*",)
# Keys that the tools read, but which change no answer of given weights on a given dataset.
TOOLS = (
    "OUTPUT_DIR",
    "SEED",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "DATASETS.TRAIN",
    "DATASETS.TEST",
    "DATALOADER.NUM_WORKERS",
)
# Keys that only a training reads.
TRAINING = (
    "SOLVER.*",
    "DATALOADER.*",
    "INPUT.*_TRAIN",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING",
    "INPUT.RANDOM_FLIP",
    "INPUT.CROP.*",
    "MODEL.BACKBONE.FREEZE_AT",
    "MODEL.*.*_TRAIN",
    "MODEL.RPN.BOUNDARY_THRESH",
    "MODEL.*.IOU_THRESHOLDS",
    "MODEL.*.IOU_LABELS",
    "MODEL.*.BATCH_SIZE_PER_IMAGE",
    "MODEL.*.POSITIVE_FRACTION",
    "MODEL.*.BBOX_REG_LOSS_*",
    "MODEL.*.SMOOTH_L1_BETA",
    "MODEL.*.LOSS_WEIGHT",
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT",
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES",
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS",
    "TEST.EVAL_PERIOD",
    "TEST.PRECISE_BN.*",
)

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
    "MODEL.MASK_ON": (False, True),
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
    "MODEL.RPN.IN_FEATURES": (list(LEVELS),),
    "MODEL.RPN.CONV_DIMS": ([-1],),
    "MODEL.RPN.BOUNDARY_THRESH": (-1,),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": ("smooth_l1",),
    "MODEL.ROI_HEADS.NAME": ("StandardROIHeads",),
    "MODEL.ROI_HEADS.IN_FEATURES": (list(LEVELS[:4]),),
    "MODEL.ROI_BOX_HEAD.NAME": ("FastRCNNConvFCHead",),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": (0,),
    "MODEL.ROI_BOX_HEAD.NORM": ("",),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": ("smooth_l1",),
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": (False,),
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": (False,),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False,),
    "MODEL.ROI_MASK_HEAD.NAME": ("MaskRCNNConvUpsampleHead",),
    "MODEL.ROI_MASK_HEAD.NORM": ("", "BN", "SyncBN", "GN"),
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "SOLVER.LR_SCHEDULER_NAME": ("WarmupMultiStepLR", "WarmupCosineLR"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
    "SOLVER.REFERENCE_WORLD_SIZE": (0,),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("value", "norm"),
    "TEST.EXPECTED_RESULTS": ([],),
    "TEST.EVAL_PERIOD": (0,),
    "TEST.AUG.ENABLED": (False,),
    "TEST.PRECISE_BN.ENABLED": (False,),
}


def check_supported(cfg: CfgNode, training: bool) -> None:
    """Make sure that the built-in engine does what ``cfg`` says.

    Raises:
        InputError: the first key whose value can't be honoured, and what is allowed.
    """
    ignored = unused(cfg) + (() if training else TRAINING)
    for key, value in key_values(cfg):
        if key not in TOOLS and matches(key, ignored):
            continue
        if key in ONLY and not any(_same(value, allowed) for allowed in ONLY[key]):
            raise one_line(_refusal(key, value))
        wanted = expectation(key, value)
        if wanted is not None:
            raise one_line(f"{key} is {shorten(repr(value))}; give {wanted}")
    if training and cfg.MODEL.MASK_ON:
        raise InputError(
            "MODEL.MASK_ON is True, and the built-in engine runs masks without training them; "
            "train with --engine detectron2, or set MODEL.MASK_ON to False"
        )
    check_together(cfg, training)


def unused(cfg: CfgNode) -> tuple[str, ...]:
    """Patterns of the keys that nobody reads."""
    return UNUSED + (() if cfg.MODEL.MASK_ON else MASKS)


def matches(key: str, patterns: Sequence[str]) -> bool:
    """Whether a key with dots is one of ``patterns`` (``*`` stands for any text)."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _refusal(key: str, value: Any) -> str:
    allowed = ONLY[key]
    default_helps = any(_same(default_values()[key], one) for one in allowed)
    return (
        f"{key} is {shorten(repr(value))}, which the built-in engine can't honour; it takes "
        f"{' or '.join(map(repr, allowed))}: set that{', or leave the key out' * default_helps}"
    )


def _same(value: Any, allowed: Any) -> bool:
    if isinstance(value, (list, tuple)) and isinstance(allowed, list):
        return list(value) == allowed
    return type(value) is type(allowed) and value == allowed
