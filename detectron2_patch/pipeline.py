"""One evaluation: the images of a dataset through a patched detector to COCO's AP."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.payload import Traffic, make_payload, weigh_images
from detectron2_patch.codec.transmission import IMAGE
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.engines.base import Engine, NetworkInput
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.bootstrap import Bootstrap
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.codecs import ImageCodec
from detectron2_patch.settings.setting import Setting
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


@dataclass
class Recoder:
    """Codes each image and gives the detector what was decoded; ``nbytes`` so far."""

    codec: ImageCodec
    nbytes: int = 0

    def __call__(self, engine: Engine, inputs: Iterable[NetworkInput]) -> Iterator[NetworkInput]:
        for one in inputs:
            recoded, nbytes = engine.recode(one, self.codec)
            self.nbytes += nbytes
            yield recoded


def detect_dataset(
    engine: Engine, dataset: CocoDataset, workers: int, recoder: Recoder | None = None
) -> list[dict[str, Any]]:
    """Detections of this process's share of the images of ``dataset``, in its order.

    ``workers`` threads or processes, as the engine has it, read images ahead of the detector.
    Progress goes to stderr.

    Args:
        recoder: what becomes of each image before the detector sees it.

    Raises:
        InputError: there are more processes than images, or an image can't be read or isn't of the
            size that the JSON says.
    """
    if distributed.world_size() > len(dataset.images):
        raise InputError(
            f"dataset {dataset.name} has {len(dataset.images)} images for "
            f"{distributed.world_size()} processes; start at most one for each image"
        )
    images = distributed.share(dataset.images)
    inputs = engine.read_dataset(dataset, images, workers)
    if recoder is not None:
        inputs = recoder(engine, inputs)
    shown = progress(
        inputs,
        total=len(images),
        unit="image",
        desc="evaluating",
        disable=distributed.rank() > 0,
    )
    return [{"image_id": image["id"], **engine.detect(one)} for image, one in zip(images, shown)]


def evaluate(
    engine: Engine,
    dataset: CocoDataset,
    setting: Setting | Mapping[str, float | Treatment],
    workers: int = 0,
    fitted: Fitted | None = None,
    bootstrap: Bootstrap | None = None,
) -> Evaluation | None:
    """Evaluate ``engine.model`` on what is received under ``setting``.

    Of several processes each takes its share of the images, and rank 0 has the evaluation of
    all; the others have ``None``.

    Raises:
        InputError: what ``patch_pyramid`` refuses; an image that can't be read or coded.
    """
    start = time.perf_counter()
    if not isinstance(setting, Setting):
        setting = Setting.of(setting, levels=engine.levels)
    elif setting.is_clean:
        setting = Setting.of({}, setting.scope, levels=engine.levels)
    for one in set(setting.treatments):
        getattr(one, "check", lambda: None)()
    evaluators = {"bbox": CocoEvaluator(dataset), **engine.shape_evaluators(dataset)}
    recoder = None if setting.image is None else Recoder(setting.image)
    of_maps = Setting.of({}, setting.scope, levels=engine.levels) if recoder else setting
    with patch_pyramid(engine.model, of_maps, fitted=fitted) as patch:
        mine = detect_dataset(engine, dataset, workers, recoder)
    counted = patch.traffic
    if recoder is not None:  # the maps are made by the receiver
        counted = Traffic.of(engine.levels, counted.images, counted.full)
        counted.add_bytes({IMAGE: recoder.nbytes})
    parts = distributed.gather((mine, counted))
    if parts is None:
        return None
    detections = [one for part, _ in parts for one in part]
    traffic = Traffic.of(engine.levels)
    for _, other in parts:
        traffic.merge(other)
    results = {task: one.evaluate(detections) for task, one in evaluators.items()}
    payload = make_payload(setting, traffic, weigh_images(dataset), fitted)
    resampled = bootstrap.describe(evaluators["bbox"].rows(detections)) if bootstrap else None
    return Evaluation(results, payload, time.perf_counter() - start, resampled)
