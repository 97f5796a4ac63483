"""What the parts call of the project's settings, patch and sweep, in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from sweep import sweep as run_sweep

from detectron2_patch import pipeline
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.grids import grid, with_scopes
from detectron2_patch.settings.levels import LEVELS, SCOPES
from detectron2_patch.settings.setting import Setting
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.suppress import unpack
from detectron2_patch.sweep.task import make_batches

__all__ = [
    "SCOPES",
    "OnePass",
    "Setting",
    "all_settings",
    "evaluate",
    "make_batches",
    "make_plan",
    "patched",
    "run_sweep",
    "unpack",
    "with_own_truth",
    "with_ratios",
]

RATIOS = (2.0, 4.0, 8.0, 4.0, 2.0)
TRUTH = 30  # of a detector's own boxes in an image


def all_settings(ratios: tuple[float, ...], scopes=SCOPES) -> list[Setting]:
    """Every combination of ``ratios`` on the five levels, in each of ``scopes``."""
    return with_scopes(grid(dict.fromkeys(LEVELS, ratios)), scopes)


def with_ratios(scope: str) -> Setting:
    """Every level reduced."""
    return Setting.of(dict(zip(LEVELS, RATIOS)), scope)


def patched(engine, setting: Setting) -> AbstractContextManager:
    """``engine``'s model under ``setting``."""
    return patch_pyramid(engine.model, setting)


def evaluate(engine, dataset: CocoDataset) -> pipeline.Evaluation:
    """One evaluation of the clean pyramid, its AP and its seconds, from files to AP."""
    return pipeline.evaluate(engine, dataset, Setting(), engine.cfg.DATALOADER.NUM_WORKERS)


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
