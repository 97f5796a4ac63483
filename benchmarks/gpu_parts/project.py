"""What the parts call of the project's settings, patch and sweep, in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from sweep import sweep as run_sweep

from detectron2_patch import pipeline
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.patch import patch_rpn
from detectron2_patch.settings.grids import grid, with_scopes
from detectron2_patch.settings.levels import LEVELS, SCOPES
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.suppress import unpack
from detectron2_patch.sweep.task import make_batches

__all__ = [
    "RATIOS",
    "SCOPES",
    "OnePass",
    "all_settings",
    "evaluate",
    "make_batches",
    "make_plan",
    "parse_setting",
    "patch_pyramid",
    "patched",
    "ratios_on",
    "run_sweep",
    "unpack",
    "with_own_truth",
]

RATIOS = dict(zip(LEVELS, (2.0, 4.0, 8.0, 4.0, 2.0)))
CLEAN = dict.fromkeys(LEVELS, 1.0)
TRUTH = 30  # of a detector's own boxes in an image


def all_settings(ratios: tuple[float, ...], scopes=SCOPES) -> list:
    """Every combination of ``ratios`` on the five levels, in each of ``scopes``."""
    return with_scopes(grid(dict.fromkeys(LEVELS, ratios)), scopes)


def patched(engine, setting) -> AbstractContextManager:
    """``engine``'s model under one of ``all_settings``."""
    return patch_rpn(engine.model, setting.by_level(), setting.scope)


def ratios_on(engine, scope: str) -> AbstractContextManager:
    """``engine``'s model with each level reduced."""
    return patch_rpn(engine.model, RATIOS, scope)


def patch_pyramid(engine, treatments) -> AbstractContextManager:
    """``engine``'s model with both heads reading what ``parse_setting`` made of some words."""
    return patch_rpn(engine.model, treatments, "pyramid")


def evaluate(engine, dataset: CocoDataset) -> pipeline.Evaluation:
    """One evaluation of the clean pyramid, its AP and its seconds, from files to AP."""
    return pipeline.evaluate(engine, dataset, CLEAN, "rpn", engine.cfg.DATALOADER.NUM_WORKERS)


def with_own_truth(engine, dataset: CocoDataset) -> CocoDataset:
    """``dataset`` with the best of what ``engine`` detects in each image as its ground truth.

    A detector with random weights finds nothing that is there: so AP says how much of what it
    found on clean maps it still finds.
    """
    annotations: dict[int, list[dict[str, Any]]] = {}
    number = 0
    for one in pipeline.detect_dataset(engine, dataset, engine.cfg.DATALOADER.NUM_WORKERS):
        truth = annotations[one["image_id"]] = []
        for box, label in zip(one["boxes"][:TRUTH].tolist(), one["classes"][:TRUTH].tolist()):
            number += 1
            width, height = box[2] - box[0], box[3] - box[1]
            truth.append(
                {
                    "id": number,
                    "image_id": one["image_id"],
                    "category_id": dataset.category_ids[label],
                    "bbox": [box[0], box[1], width, height],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    return replace(dataset, annotations=annotations)
