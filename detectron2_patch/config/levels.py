"""The levels of a configured detector, before it is built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from yacs.config import CfgNode

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import ANY, LEVELS, check_levels

COCO_CLASSES = 80


class _Torchvision(NamedTuple):
    levels: tuple[str, ...]
    dense: bool


_P3_TO_P7 = ("p3", "p4", "p5", "p6", "p7")
# Values of MODEL.META_ARCHITECTURE that detectron2 doesn't have: torchvision's own models.
TORCHVISION_MODELS = {
    "fasterrcnn_resnet50_fpn": _Torchvision(LEVELS, False),
    "retinanet_resnet50_fpn": _Torchvision(_P3_TO_P7, True),
    "fcos_resnet50_fpn": _Torchvision(_P3_TO_P7, True),
}


def is_torchvision(cfg: CfgNode) -> bool:
    """Whether torchvision itself builds the configured model."""
    return cfg.MODEL.META_ARCHITECTURE in TORCHVISION_MODELS


def is_dense(cfg: CfgNode) -> bool:
    """Whether there is one kind of head, and no RPN."""
    if is_torchvision(cfg):
        return TORCHVISION_MODELS[cfg.MODEL.META_ARCHITECTURE].dense
    return cfg.MODEL.META_ARCHITECTURE == "RetinaNet"


def class_count(cfg: CfgNode) -> int:
    """How many classes the detector knows."""
    return cfg.MODEL[_class_node(cfg)].NUM_CLASSES


def class_key(cfg: CfgNode) -> str:
    """The key that says so."""
    return f"MODEL.{_class_node(cfg)}.NUM_CLASSES"


def _class_node(cfg: CfgNode) -> str:
    return "RETINANET" if is_dense(cfg) and not is_torchvision(cfg) else "ROI_HEADS"


def levels_of(cfg: CfgNode, given: Sequence[str] | None = None) -> tuple[str, ...]:
    """The levels that the heads read, finest first.

    Args:
        given: what they are, where their names don't tell.

    Raises:
        InputError: they are no pyramid, or as many as ``given`` they are not.
    """
    if is_torchvision(cfg):
        return TORCHVISION_MODELS[cfg.MODEL.META_ARCHITECTURE].levels
    names = _read_by_heads(cfg)
    if given is not None:
        if len(given) != len(names):
            raise InputError(
                f"--levels names {len(given)}, and the detector reads {len(names)} "
                f"({', '.join(names)}); give one for each"
            )
        return check_levels(given)
    levels = sorted(str(name).lower() for name in names)
    if len(levels) == 1:  # no pyramid, which is refused elsewhere
        return LEVELS
    if not set(levels) <= set(ANY):
        raise InputError(
            f"the detector reads {', '.join(names)}, whose names don't tell their strides; give "
            "--levels, such as p2 p3 p4 p5 (P2 has stride 4, P3 has 8)"
        )
    return check_levels(levels)


def pooled_levels(cfg: CfgNode, levels: Sequence[str]) -> tuple[str, ...]:
    """Those of ``levels``, which ``levels_of`` gave, that the box head of an R-CNN pools from."""
    names = _read_by_heads(cfg)
    if {str(name).lower() for name in names} == set(levels):
        names = sorted(names, key=lambda name: str(name).lower())
    pooled = cfg.MODEL.ROI_HEADS.IN_FEATURES
    return tuple(level for name, level in zip(names, levels) if name in pooled)


def _read_by_heads(cfg: CfgNode) -> list[str]:
    """What a configuration of detectron2 calls the maps that its heads read."""
    model = cfg.MODEL
    if is_dense(cfg):
        return list(model.RETINANET.IN_FEATURES)
    return list(dict.fromkeys([*model.RPN.IN_FEATURES, *model.ROI_HEADS.IN_FEATURES]))
