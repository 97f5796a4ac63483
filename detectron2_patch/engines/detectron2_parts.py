"""One half of detectron2's model: what it builds of the configuration, without the other half."""

from __future__ import annotations

import torch
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_model
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.roi_heads import build_roi_heads
from torch import nn

from detectron2_patch.engines.received import Received
from detectron2_patch.settings.halves import BACKBONE, WHOLE


def build_part(cfg, part: str) -> nn.Module:
    """detectron2's model on its device; of a half, the other one has no parameters."""
    if part == WHOLE:
        return build_model(cfg)
    halves = _backbone(cfg) if part == BACKBONE else _heads(cfg)
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(
        **halves,
        pixel_mean=cfg.MODEL.PIXEL_MEAN,
        pixel_std=cfg.MODEL.PIXEL_STD,
        input_format=cfg.INPUT.FORMAT,
    )
    return model.to(torch.device(cfg.MODEL.DEVICE))


def _backbone(cfg) -> dict[str, nn.Module]:
    names = ("proposal_generator", "roi_heads")
    return {"backbone": build_backbone(cfg), **{name: nn.Identity() for name in names}}


def _heads(cfg) -> dict[str, nn.Module]:
    with torch.device("meta"):  # for its shapes alone: it takes no memory
        whole = build_backbone(cfg)
    shapes = whole.output_shape()
    stand_in = Received(whole.size_divisibility, getattr(whole, "padding_constraints", None))
    return {
        "backbone": stand_in,
        "proposal_generator": build_proposal_generator(cfg, shapes),
        "roi_heads": build_roi_heads(cfg, shapes),
    }
