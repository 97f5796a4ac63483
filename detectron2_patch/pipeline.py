"""One evaluation: the images of a dataset through a patched detector to COCO's AP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.payload import Traffic, make_payload, weigh_images
from detectron2_patch.codec.transmission import side_bytes
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.bootstrap import Bootstrap
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.patch import patch_rpn
from detectron2_patch.settings.treatments import Treatment
from detectron2_patch.utils import distributed
from detectron2_patch.utils.progress import progress


@dataclass
class Evaluation:
    """What one setting gave.

    Attributes:
        results: task (``bbox``, ``segm``, ``keypoints``) to AP and its kin in percent.
        payload: as results hold it.
        seconds: how long it all took.
        bootstrap: AP of resamples of the images, as results hold it, where it was asked for.
    """

    results: dict[str, dict[str, float | None]]
    payload: dict
    seconds: float
    bootstrap: dict | None = None


def detect_dataset(engine, dataset: CocoDataset, workers: int) -> list[dict]:
    """Detections of this process's share of the images of ``dataset``, in its order.

    ``workers`` threads or processes, as the engine has it, read images ahead of the detector.
    Progress goes to stderr.

    Raises:
        InputError: there are more processes than images.
    """
    if distributed.world_size() > len(dataset.images):
        raise InputError(
            f"dataset {dataset.name} has {len(dataset.images)} images for "
            f"{distributed.world_size()} processes; start at most one for each image"
        )
    images = distributed.share(dataset.images)
    inputs = engine.read_all([dataset.image_path(image) for image in images], workers)
    return [
        {"image_id": image["id"], **engine.detect(one)}
        for image, one in zip(
            images,
            progress(
                inputs,
                total=len(images),
                unit="image",
                desc="evaluating",
                disable=distributed.rank() > 0,
            ),
        )
    ]


def evaluate(
    engine,
    dataset: CocoDataset,
    treatments: Mapping[str, float | Treatment],
    scope: str,
    workers: int,
    fitted: Fitted | None = None,
    bootstrap: Bootstrap | None = None,
) -> Evaluation | None:
    """Evaluate ``engine.model`` on the pyramid as received: see ``patch.patch_rpn``.

    Of several processes each takes its share of the images, and rank 0 has the evaluation of
    all; the others have ``None``.
    """
    start = time.perf_counter()
    evaluators = {"bbox": CocoEvaluator(dataset), **engine.shape_evaluators(dataset)}
    with patch_rpn(engine.model, treatments, scope, fitted=fitted) as patch:
        mine = detect_dataset(engine, dataset, workers)
    parts = distributed.gather((mine, patch.traffic))
    if parts is None:
        return None
    detections = [one for part, _ in parts for one in part]
    traffic = Traffic()
    for _, counted in parts:
        traffic.merge(counted)
    results = {task: one.evaluate(detections) for task, one in evaluators.items()}
    side = side_bytes(patch.treatments, fitted)
    payload = make_payload(scope, traffic, weigh_images(dataset), side)
    resampled = bootstrap and bootstrap.describe(evaluators["bbox"].rows(detections))
    return Evaluation(results, payload, time.perf_counter() - start, resampled)
