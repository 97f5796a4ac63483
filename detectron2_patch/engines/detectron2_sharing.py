"""Whether settings can share the work of a model of detectron2, part by part.

What one pass rests on was read in detectron2's own classes: the RPN works on each level alone until
its merge, and a head's answer for a box depends on that box and on the one map that it is pooled
from. A subclass, a hook or a replaced method may do something else; that is a doubt, and has to be
tried against the model's own run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    FastRCNNOutputLayers,
    KRCNNConvDeconvUpsampleHead,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from torch import nn

from detectron2_patch.engines import detectron2_dense

_TRANSFORMS = (Box2BoxTransform, Box2BoxTransformLinear)
# Where a part is, and the classes of which it is known how they work.
_RCNN: dict[str, tuple[type, ...]] = {
    "": (GeneralizedRCNN,),
    "proposal_generator": (RPN,),
    "proposal_generator.rpn_head": (StandardRPNHead,),
    "proposal_generator.anchor_generator": (DefaultAnchorGenerator,),
    "proposal_generator.box2box_transform": _TRANSFORMS,
    "roi_heads": (StandardROIHeads, CascadeROIHeads),
    "roi_heads.box_pooler": (ROIPooler,),
    "roi_heads.box_head": (FastRCNNConvFCHead,),
    "roi_heads.box_predictor": (FastRCNNOutputLayers,),
    "roi_heads.box_predictor.box2box_transform": _TRANSFORMS,
    "roi_heads.mask_pooler": (ROIPooler,),
    "roi_heads.mask_head": (MaskRCNNConvUpsampleHead,),
    "roi_heads.keypoint_pooler": (ROIPooler,),
    "roi_heads.keypoint_head": (KRCNNConvDeconvUpsampleHead,),
}


def obstacle(model: Any) -> str | None:
    """Why settings can't share the parts of ``model``; None where they might.

    Without the usual parts there is nothing to share, and a mask head that reads whole maps (as
    PointRend's) has no level of its own for each box.
    """
    if detectron2_dense.is_dense(model):
        return detectron2_dense.obstacle(model)
    heads, rpn = getattr(model, "roi_heads", None), getattr(model, "proposal_generator", None)
    if not isinstance(heads, StandardROIHeads):
        return f"{type(heads).__name__} is not the box head of Faster or Cascade R-CNN"
    wanted = [("RPN", rpn, RPN), ("box pooler", heads.box_pooler, ROIPooler)]
    predictors = _each(heads.box_predictor)
    wanted += [("box predictor", one, FastRCNNOutputLayers) for one in predictors]
    for on, name in ((heads.mask_on, "mask"), (heads.keypoint_on, "keypoint")):
        wanted += [(f"{name} pooler", getattr(heads, f"{name}_pooler"), ROIPooler)] if on else []
    for name, part, kind in wanted:
        if not isinstance(part, kind):
            return f"the {name} is a {type(part).__name__}, of which nothing is known"
    # SIMD and its remainder differ in the last digit
    if any(one.use_sigmoid_ce for one in predictors):
        return "the scores are sigmoids, whose rounding depends on how many there are in a call"
    return None


def doubt(model: Any) -> str | None:
    """A part of ``model`` that isn't detectron2's own, which may or may not do what one pass rests
    on; None where all are."""
    return next(_doubts(model), None)


def _doubts(model: Any) -> Iterator[str]:
    dense = detectron2_dense.is_dense(model)
    for where, part, known in detectron2_dense.parts(model) if dense else _rcnn(model):
        if type(part) not in known:
            yield f"{where} is a {type(part).__name__}"
        elif _changed(part):
            yield f"{where} has hooks or methods of its own"


def _rcnn(model: Any) -> Iterator[tuple[str, Any, tuple[type, ...]]]:
    for path, known in _RCNN.items():
        for part in _parts(model, path):
            yield path or "the model", part, known


def _parts(model: Any, path: str) -> list[Any]:
    """What lies at ``path``, of a cascade each stage's; nothing where a head is switched off."""
    name = path.partition(".")[2].partition("_")[0]
    if name in ("mask", "keypoint") and not getattr(model.roi_heads, f"{name}_on"):
        return []
    found = [model]
    for name in filter(None, path.split(".")):
        found = [one for part in found for one in _each(getattr(part, name, None))]
    return found


def _each(part: Any) -> list[Any]:
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _changed(part: Any) -> bool:
    """Whether this one instance does more than its class."""
    hooks = getattr(part, "_forward_hooks", None), getattr(part, "_forward_pre_hooks", None)
    return any(hooks) or any(callable(getattr(type(part), name, None)) for name in vars(part))
