"""One half of detectron2's model: what it builds of the configuration, without the other half."""

from __future__ import annotations

import torch
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_model
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.roi_heads import build_roi_heads
from torch import nn

from detectron2_patch.engines.received import Received
from detectron2_patch.rcnn.levels import level_names
from detectron2_patch.settings.halves import BACKBONE, WHOLE


def build_part(cfg, part: str) -> nn.Module:
    """detectron2's model on its device; of a half, the other one has no parameters."""
    if part == WHOLE:
        return build_model(cfg)
    build = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    if issubclass(build, DenseDetector):
        model = _dense(build(cfg), part)
    else:
        halves = _backbone(cfg) if part == BACKBONE else _heads(cfg)
        model = build(
            **halves,
            pixel_mean=cfg.MODEL.PIXEL_MEAN,
            pixel_std=cfg.MODEL.PIXEL_STD,
            input_format=cfg.INPUT.FORMAT,
        )
    if isinstance(model.backbone, Received):
        model.backbone.names = level_names(model)
    return model.to(torch.device(cfg.MODEL.DEVICE))


def _dense(model: nn.Module, part: str) -> nn.Module:
    """A whole detector of one kind of head, which can't be built by halves, without one of them."""
    if part == BACKBONE:
        model.head = nn.Identity()
    else:
        model.backbone = _stand_in(model.backbone)
    return model


def _backbone(cfg) -> dict[str, nn.Module]:
    """The heads' stand-ins say what would be read, which names the levels."""
    rpn, heads = nn.Identity(), nn.Identity()
    rpn.in_features, heads.box_in_features = (
        cfg.MODEL.RPN.IN_FEATURES,
        cfg.MODEL.ROI_HEADS.IN_FEATURES,
    )
    return {"backbone": build_backbone(cfg), "proposal_generator": rpn, "roi_heads": heads}


def _heads(cfg) -> dict[str, nn.Module]:
    with torch.device("meta"):  # for its shapes alone: it takes no memory
        whole = build_backbone(cfg)
    shapes = whole.output_shape()
    return {
        "backbone": _stand_in(whole),
        "proposal_generator": build_proposal_generator(cfg, shapes),
        "roi_heads": build_roi_heads(cfg, shapes),
    }


def _stand_in(backbone) -> Received:
    constraints = getattr(backbone, "padding_constraints", None)
    return Received(backbone.size_divisibility, constraints, backbone.output_shape())
