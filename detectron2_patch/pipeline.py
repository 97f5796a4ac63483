"""One evaluation: the images of a dataset through a patched detector to COCO's AP."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.payload import Traffic, make_payload, weigh_images
from detectron2_patch.codec.transmission import IMAGE
from detectron2_patch.data.catalog import load_dataset, open_dataset
from detectron2_patch.data.coco import CocoDataset, check_class_count
from detectron2_patch.engines.base import Engine, NetworkInput
from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.bootstrap import Bootstrap
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.patch import UNTRAINED, Patch, is_untrained, open_fitted, patch_pyramid
from detectron2_patch.settings.codecs import ImageCodec
from detectron2_patch.settings.setting import Setting
from detectron2_patch.settings.treatments import Treatment
from detectron2_patch.utils import distributed
from detectron2_patch.utils.machine import usable_cores
from detectron2_patch.utils.overlap import overlapped
from detectron2_patch.utils.progress import progress

# a name, a JSON and its image folder, or what was loaded
Data = CocoDataset | str | Sequence[str | os.PathLike]
CLEAN = Setting()


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


def _open(data: Data) -> CocoDataset:
    if isinstance(data, CocoDataset):
        return data
    if isinstance(data, str):
        return load_dataset(data)
    if isinstance(data, Sequence) and len(data) == 2:
        return open_dataset([os.fspath(part) for part in data], (), "")
    raise InputError(
        f"{data!r} is no dataset; give a name such as 'demo_val', or a COCO-format JSON and its "
        "image folder: ('val.json', 'val/')"
    )


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
    engine: Engine,
    dataset: CocoDataset,
    workers: int,
    recoder: Recoder | None = None,
    threads: int = 1,
) -> list[dict[str, Any]]:
    """Detections of this process's share of the images of ``dataset``, in its order.

    ``workers`` threads or processes, as the engine has it, read images ahead of the detector.
    Progress goes to stderr.

    Args:
        recoder: what becomes of each image before the detector sees it.
        threads: images that are worked on at a time.

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
    found = overlapped(engine.detect, shown, threads)
    return [{"image_id": image["id"], **one} for image, one in zip(images, found)]


def images_at_a_time(engine: Engine, patch: Patch) -> int:
    """How many images are worked on: one is coded, which takes one core, beside another's
    convolutions."""
    on_cores = engine.threaded and str(engine.model.device) == "cpu" and usable_cores() > 1
    return 2 if patch.codes and on_cores else 1


def evaluate(
    engine: Engine,
    dataset: Data,
    setting: Setting | str | Mapping[str, float | Treatment] = CLEAN,
    workers: int = 0,
    fitted: Fitted | str | os.PathLike | None = None,
    bootstrap: Bootstrap | None = None,
) -> Evaluation | None:
    """Evaluate ``engine.model`` on what is received under ``setting``::

        done = evaluate(load_demo(), "demo_val", "--send p3 p5 --bits 4")
        done.results["bbox"]["AP"], done.payload["bits_per_pixel"]

    Of several processes each takes its share of the images, and rank 0 has the evaluation of
    all; the others have ``None``.

    Args:
        engine: what ``load_demo`` and ``load_detector`` give.
        dataset: a name, such as ``demo_val`` or ``coco_2017_val``, a COCO-format JSON and the
            folder of its images, or a dataset that was loaded.
        setting: as ``patch_pyramid`` takes it; left out: clean.
        workers: threads or processes that read images ahead.
        fitted: as ``patch_pyramid`` takes it.
        bootstrap: for AP of resamples of the images.

    Raises:
        InputError: what ``patch_pyramid`` refuses; data that is missing, has other classes than
            the detector or was fitted on; a detector whose weights were never loaded; an image
            that can't be read or coded.
    """
    start = time.perf_counter()
    if not isinstance(engine, Engine):
        raise InputError(
            f"{type(engine).__name__} is no detector to evaluate; give what load_demo() or "
            "load_detector(config, weights) returns, or evaluate within patch_pyramid(model, …)"
        )
    if engine.weights is None and is_untrained(engine.model):
        raise InputError(f"{UNTRAINED}; call load_weights(FILE) of it, or use load_detector")
    dataset = _open(dataset)
    check_class_count(dataset, engine.num_classes)
    fitted = open_fitted(fitted)
    setting = Setting.given(setting, fitted=fitted, levels=engine.levels)
    if setting.uses_fit and fitted is not None:
        fitted.check_images([dataset.image_path(image) for image in dataset.images])
    for one in set(setting.treatments):
        getattr(one, "check", lambda: None)()
    evaluators = {"bbox": CocoEvaluator(dataset), **engine.shape_evaluators(dataset)}
    recoder = None if setting.image is None else Recoder(setting.image)
    of_maps = Setting.of({}, setting.scope, levels=engine.levels) if recoder else setting
    with patch_pyramid(engine, of_maps, fitted=fitted) as patch:
        mine = detect_dataset(engine, dataset, workers, recoder, images_at_a_time(engine, patch))
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
