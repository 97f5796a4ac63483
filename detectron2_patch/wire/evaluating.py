"""AP and payload of what was received, where a dataset's annotations are at hand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.payload import Traffic, make_payload
from detectron2_patch.data.catalog import dataset_files, dataset_names
from detectron2_patch.data.coco import CocoDataset, load_coco
from detectron2_patch.engines.base import Engine
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.pipeline import Evaluation
from detectron2_patch.settings.setting import Setting
from detectron2_patch.wire.manifest import Entry


def evaluate_received(
    engine: Engine,
    dataset: CocoDataset,
    setting: Setting,
    received: Sequence[tuple[Entry, Mapping[str, Any]]],
    traffic: Traffic,
    fitted: Fitted | None,
    start: float,
) -> Evaluation:
    """What ``pipeline.evaluate`` gives of the same setting.

    Args:
        received: entry and detections of each image.
        traffic: of the receiver.
        start: of the work, by ``time.perf_counter``.

    Raises:
        InputError: an image of the dataset wasn't received.
    """
    by_id = {entry.id: (entry, found) for entry, found in received}
    check_all_there(dataset, [entry for entry, _ in received])
    detections: list[dict[str, Any]] = [
        {"image_id": image["id"], **by_id[image["id"]][1]} for image in dataset.images
    ]
    evaluators = {"bbox": CocoEvaluator(dataset), **engine.shape_evaluators(dataset)}
    results = {task: one.evaluate(detections) for task, one in evaluators.items()}
    images = {
        "pixels": sum(image["height"] * image["width"] for image in dataset.images),
        "stored_bytes": sum(entry.stored_bytes for entry, _ in received),
    }
    images["raw_bytes"] = 3 * images["pixels"]
    payload = make_payload(setting, traffic, images, fitted)
    return Evaluation(results, payload, time.perf_counter() - start)


def check_all_there(dataset: CocoDataset, entries: Sequence[Entry]) -> None:
    """Make sure that the images received are those of the dataset.

    Raises:
        InputError: some are missing, or others were received; says how many.
    """
    wanted = {(image["id"], image["file_name"]) for image in dataset.images}
    there = {(entry.id, entry.file_name) for entry in entries}
    if wanted != there or len(entries) != len(there):
        raise InputError(
            f"{len(wanted & there)} of the {len(wanted)} images of {dataset.json_file} were "
            f"received, and {len(entries) - len(wanted & there)} others; send them all, and "
            "no other, for their AP"
        )


def open_annotations(name: str, entries: Sequence[Entry], content: str | None) -> CocoDataset:
    """The dataset of a COCO JSON, or of a name, whose images are the sender's: none is looked at.

    Args:
        content: of the images, where the sender told it.

    Raises:
        InputError: the JSON is missing or bad.
    """
    stored = {entry.file_name: entry.stored_bytes for entry in entries}
    if name in dataset_names():
        return load_coco(name, *dataset_files(name), stored, content)
    path = Path(name)
    return load_coco(path.stem, path, path.parent, stored, content)
