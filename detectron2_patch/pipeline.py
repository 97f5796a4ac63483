"""One evaluation: the images of a dataset through a patched detector to COCO's AP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import load_ahead
from detectron2_patch.evaluation import CocoEvaluator
from detectron2_patch.patch import patch_rpn
from detectron2_patch.payload import make_payload
from detectron2_patch.progress import progress


@dataclass
class Evaluation:
    """AP and its kin in percent, the payload in elements, and the seconds it all took."""

    bbox: dict[str, float | None]
    payload: dict
    seconds: float


def detect_dataset(engine, dataset: CocoDataset, workers: int) -> list[dict]:
    """Detections of every image of ``dataset``, in its order, with progress on stderr.

    ``workers`` threads read images ahead of the detector.
    """

    def read(image: dict):
        return image["id"], engine.read(dataset.image_path(image))

    images = load_ahead(read, dataset.images, workers)
    return [
        {"image_id": image_id, **engine.detect(image)}
        for image_id, image in progress(
            images, total=len(dataset.images), unit="image", desc="evaluating"
        )
    ]


def evaluate(
    engine, dataset: CocoDataset, ratios: Mapping[str, float], scope: str, workers: int
) -> Evaluation:
    """Evaluate ``engine.model`` with its pyramid degraded by ``ratios`` in ``scope``."""
    start = time.perf_counter()
    with patch_rpn(engine.model, ratios, scope) as patch:
        detections = detect_dataset(engine, dataset, workers)
    bbox = CocoEvaluator(dataset).evaluate(detections)
    payload = make_payload(scope, patch.elements)
    return Evaluation(bbox, payload, time.perf_counter() - start)
