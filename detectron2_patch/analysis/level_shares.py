"""Which levels a dataset's objects use: where their boxes are pooled and their anchors lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from detectron2_patch.config.levels import is_dense, is_torchvision, levels_of, pooled_levels
from detectron2_patch.data.coco import CocoDataset, training_boxes
from detectron2_patch.data.images import about, network_size
from detectron2_patch.errors import InputError
from detectron2_patch.rcnn.anchors import Anchors
from detectron2_patch.rcnn.pooler import pooled_level

AREAS = {"small": 32**2, "medium": 96**2, "large": float("inf")}  # COCO's, in image pixels


def level_shares(
    cfg, dataset: CocoDataset, named: Sequence[str] | None = None
) -> dict[str, dict[str, float]]:
    """Shares of the ground truth, each from 0 to 1, at the size the network evaluates at.

    Args:
        cfg: a configuration of detectron2, of an R-CNN or RetinaNet.
        named: what its levels are, where their names don't tell.

    Returns:
        ``area``: COCO's small, medium, large by annotated area; ``pooled``: the level the box
        head pools the box from, where there is one; ``anchor``: the level of the anchor with the
        highest IoU.

    Raises:
        InputError: a side of an image rounds to 0 at that size; torchvision's own model.
    """
    if is_torchvision(cfg):
        raise InputError(
            f"{cfg.MODEL.META_ARCHITECTURE} is torchvision's own, whose configuration doesn't say "
            "where its anchors lie; give one of detectron2's: --config-file"
        )
    levels = levels_of(cfg, named)
    pooled = () if is_dense(cfg) else pooled_levels(cfg, levels)
    anchors = Anchors(cfg.MODEL.ANCHOR_GENERATOR, levels)
    grids: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    kinds = ("area", "pooled", "anchor") if pooled else ("area", "anchor")
    counts: dict[str, Counter] = {kind: Counter() for kind in kinds}
    for image in dataset.images:
        for annotation in dataset.annotations[image["id"]]:
            if not annotation["iscrowd"]:
                kind = next(name for name, top in AREAS.items() if annotation["area"] < top)
                counts["area"][kind] += 1
        size = (image["height"], image["width"])
        with about(dataset.image_path(image)):
            height, width = network_size(size, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
        boxes = torch.from_numpy(training_boxes(dataset, image)[0])
        boxes = boxes * torch.tensor([width / size[1], height / size[0]] * 2)
        if (height, width) not in grids:
            grids[height, width] = _anchor_grid(anchors, height, width)
        grid, places = grids[height, width]
        if pooled:
            counts["pooled"].update(pooled[i] for i in pooled_level(boxes, pooled).tolist())
        if len(boxes):
            best = box_iou(boxes, grid).argmax(dim=1)
            counts["anchor"].update(levels[i] for i in places[best].tolist())
    return {kind: _shares(counter) for kind, counter in counts.items()}


def _anchor_grid(anchors: Anchors, height: int, width: int) -> tuple[Tensor, Tensor]:
    """All anchors ``(R, 4)`` of an image padded to multiples of 32, and each one's level."""
    height, width = (-(-side // 32) * 32 for side in (height, width))
    parts = []
    for level in anchors.cells:
        stride = 2 ** int(level[1:])
        size = -(-height // stride), -(-width // stride)
        parts.append(anchors.level(level, torch.empty(1, 1, *size)))
    return torch.cat(parts), torch.cat([torch.full((len(p),), i) for i, p in enumerate(parts)])


def _shares(counter: Counter) -> dict[str, float]:
    return {name: count / counter.total() for name, count in sorted(counter.items())}
