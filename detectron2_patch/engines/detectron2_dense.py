"""RetinaNet and FCOS of the installed detectron2: one kind of head, each level alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.layers import CycleBatchNormList
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead
from detectron2.modeling.meta_arch.retinanet import RetinaNet, RetinaNetHead
from torch import Tensor

from detectron2_patch.rcnn.structures import Detections

_KNOWN: dict[str, tuple[type, ...]] = {
    "": (RetinaNet, FCOS),
    "head": (RetinaNetHead, FCOSHead),
    "anchor_generator": (DefaultAnchorGenerator,),
    "box2box_transform": (Box2BoxTransform, Box2BoxTransformLinear),
}


def is_dense(model: Any) -> bool:
    """Whether a model's head reads every level by itself and there is nothing behind it."""
    return isinstance(model, DenseDetector)


def obstacle(model: Any) -> str | None:
    """Why settings can't share the head's work; None where they might."""
    if any(isinstance(part, CycleBatchNormList) for part in model.head.modules()):
        return "the head has a norm of its own for each level, which it takes in turn"
    if not hasattr(model.head, "_num_features"):
        return f"the head is a {type(model.head).__name__}, of which nothing is known"
    return None


def parts(model: Any) -> Iterator[tuple[str, Any, tuple[type, ...]]]:
    """Each part that sharing rests on, where it lies, and the classes that are known."""
    for path, known in _KNOWN.items():
        yield path or "the model", getattr(model, path) if path else model, known


def level_outputs(model: Any, feature: Tensor) -> tuple[Tensor, ...]:
    """See ``Engine.level_outputs``."""
    with _one_level(model.head):
        outputs = model.head([feature])
    dims = [model.num_classes, 4, 1][: len(outputs)]
    logits, deltas, *centre = (one[0] for one in model._transpose_dense_predictions(outputs, dims))
    return (logits, deltas, *(one[..., 0] for one in centre))


@torch.inference_mode()
def level_detections(
    model: Any, index: int, feature: Tensor, image_sizes: list[tuple[int, int]]
) -> list[Detections]:
    """What one level gives for each image, before suppression, by falling score.

    Args:
        index: of the level among those that the head reads.
        feature: its map ``(N, C, H, W)``.
    """
    scores, deltas, *centre = level_outputs(model, feature)
    anchors = model.anchor_generator([feature] * len(model.head_in_features))[index]
    found = []
    for number, size in enumerate(image_sizes):
        probability = scores[number].sigmoid_()
        if centre:  # FCOS: how central a place is in its box, too
            probability = torch.sqrt(probability * centre[0][number, :, None].sigmoid_())
        one = model._decode_per_level_predictions(
            anchors,
            probability,
            deltas[number],
            model.test_score_thresh,
            model.test_topk_candidates,
            size,
        )
        found.append(Detections(one.pred_boxes.tensor, one.scores, one.pred_classes))
    return found


@contextmanager
def _one_level(head: Any) -> Iterator[None]:
    """The head asks for all levels: for the block, one is all."""
    before, head._num_features = head._num_features, 1
    try:
        yield
    finally:
        head._num_features = before
