#!/usr/bin/env python3
"""The fast evaluator beside pycocotools: the twelve COCO numbers and the seconds of both.

Runs the demo's detector on its validation images, or a detector and data of your own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import open_dataset
from detectron2_patch.data.coco import check_class_count
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.torchvision import TorchvisionEngine
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.pipeline import detect_dataset

ROOT = Path(__file__).resolve().parent.parent
NAMES = "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl".split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--weights", default=WEIGHTS, type=Path)
    parser.add_argument("--data", nargs=2, metavar=("JSON", "IMAGES"))
    args = parser.parse_args()
    cfg = load_cfg(args.config_file)
    dataset = open_dataset(args.data, cfg.DATASETS.TEST, "DATASETS.TEST")
    check_class_count(dataset, cfg.MODEL.ROI_HEADS.NUM_CLASSES)
    engine = TorchvisionEngine(cfg, "cpu")
    engine.load_weights(args.weights)
    detections = detect_dataset(engine, dataset, cfg.DATALOADER.NUM_WORKERS)
    stats, seconds = {}, {}
    for backend in ("hotcoco", "pycocotools"):
        evaluator = CocoEvaluator(dataset, backend)
        start = time.perf_counter()
        stats[backend] = evaluator.stats(detections)
        seconds[backend] = time.perf_counter() - start
    count = sum(len(one["boxes"]) for one in detections)
    print(f"{dataset.name}: {len(dataset.images)} images, {count} detections")
    for name, fast, slow in zip(NAMES, stats["hotcoco"], stats["pycocotools"]):
        equal = f"{fast:.6f}" == f"{slow:.6f}"
        print(f"{name:6} {fast:.6f} {slow:.6f} {'equal' if equal else 'DIFFERS'}")
    print("seconds", {name: round(value, 3) for name, value in seconds.items()})


if __name__ == "__main__":
    main()
