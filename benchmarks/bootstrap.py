#!/usr/bin/env python3
"""What resampling the images costs: 1,000 replicates of one setting, on one core.

Of the demo's detector on its validation images, and of made-up detections of COCO val2017's size.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import open_dataset
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.torchvision import TorchvisionEngine
from detectron2_patch.evaluation.bootstrap import Bootstrap
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.pipeline import detect_dataset

ROOT = Path(__file__).resolve().parent.parent
IMAGES, CLASSES, OBJECTS, DETECTIONS = 5_000, 80, 36_000, 176_000


def demo() -> tuple[CocoDataset, np.ndarray]:
    """The demo's images and what its detector finds in them."""
    cfg = load_cfg(ROOT / "configs" / "demo.yaml")
    dataset = open_dataset(None, cfg.DATASETS.TEST, "DATASETS.TEST")
    engine = TorchvisionEngine(cfg, "cpu")
    engine.load_weights(WEIGHTS)
    found = detect_dataset(engine, dataset, cfg.DATALOADER.NUM_WORKERS)
    return dataset, CocoEvaluator(dataset).rows(found)


def made_up() -> tuple[CocoDataset, np.ndarray]:
    """Random objects, half of which are found by boxes a little off; the rest finds nothing."""
    rng = np.random.default_rng(0)
    images, classes = rng.integers(IMAGES, size=OBJECTS), rng.integers(CLASSES, size=OBJECTS)
    corners, sides = rng.uniform(0, 400, (OBJECTS, 2)), 10 ** rng.uniform(1, 2.5, (OBJECTS, 2))
    boxes = np.hstack([corners, sides])
    annotations: dict[int, list] = {image: [] for image in range(IMAGES)}
    for image, label, box in zip(images.tolist(), classes.tolist(), boxes.tolist()):
        annotations[image].append(
            {
                "id": 1,
                "image_id": image,
                "category_id": label + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
        )
    dataset = CocoDataset(
        name="made up",
        json_file=Path("none"),
        image_root=Path("none"),
        classes=tuple(map(str, range(CLASSES))),
        category_ids=tuple(range(1, CLASSES + 1)),
        images=[{"id": image} for image in range(IMAGES)],
        annotations=annotations,
        degenerate_boxes=0,
        digest="",
    )
    near = np.arange(DETECTIONS) < OBJECTS // 2
    of = np.arange(DETECTIONS) % OBJECTS
    rows = np.empty((DETECTIONS, 7))
    rows[:, 0] = np.where(near, images[of], rng.integers(IMAGES, size=DETECTIONS)) + 1
    rows[:, 1:5] = boxes[of] + rng.normal(0, 0.05, (DETECTIONS, 4)) * np.tile(sides[of], 2)
    rows[:, 5] = rng.random(DETECTIONS) + near / 2
    rows[:, 6] = classes[of] + 1
    return dataset, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=1000)
    args = parser.parse_args()
    for dataset, rows in (demo(), made_up()):
        bootstrap = Bootstrap(dataset, args.replicates)
        evaluator = CocoEvaluator(dataset)
        start = time.perf_counter()
        metrics = evaluator.evaluate_rows(rows)
        middle = time.perf_counter()
        found = bootstrap.evaluate(rows)
        end = time.perf_counter()
        print(
            f"{dataset.name}: {len(dataset.images)} images, {len(dataset.classes)} classes, "
            f"{len(rows)} detections; evaluated once {middle - start:.3f} s, "
            f"{args.replicates} replicates {end - middle:.2f} s, peak "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
        )
        for size, values in found.items():
            print(
                f"  {size}: {metrics[size]:.2f}; replicates {np.nanmean(values):.2f} "
                f"+- {np.nanstd(values):.2f}"
            )


if __name__ == "__main__":
    main()
