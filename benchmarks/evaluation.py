#!/usr/bin/env python3
"""What an evaluation costs above the model's own forwards: ratios measured in one run.

Prints, for the demo's detector on its validation images, the seconds of the bare forwards, of
an evaluation without ratios and of one with them, taken in turn, and the ratios of their medians.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import time
from pathlib import Path

import torch

from detectron2_patch import pipeline
from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import load_dataset
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.torchvision import TorchvisionEngine
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.setting import Setting

ROOT = Path(__file__).resolve().parent.parent
RATIOS = dict(zip(LEVELS, (2.0, 4.0, 8.0, 4.0, 2.0)))
CLEAN = dict.fromkeys(LEVELS, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    cfg = load_cfg(ROOT / "configs" / "demo.yaml")
    dataset = load_dataset("demo_val")
    engine = TorchvisionEngine(cfg, args.device)
    engine.load_weights(WEIGHTS)
    inputs = [engine.read(dataset.image_path(image)) for image in dataset.images]

    @torch.inference_mode()
    def forwards() -> None:
        for image in inputs:
            engine.model([image.tensor])

    def unpatched() -> None:
        detections = pipeline.detect_dataset(engine, dataset, cfg.DATALOADER.NUM_WORKERS)
        CocoEvaluator(dataset).evaluate(detections)

    def evaluation(ratios: dict[str, float]) -> None:
        setting = Setting.of(ratios, "rpn")
        pipeline.evaluate(engine, dataset, setting, cfg.DATALOADER.NUM_WORKERS)

    tasks = {
        "bare forwards": forwards,
        "evaluation, no patch": unpatched,
        "evaluation, ratios 1": lambda: evaluation(CLEAN),
        "evaluation, ratios 2 4 8 4 2": lambda: evaluation(RATIOS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(args.rounds):
        for name, task in tasks.items():  # in turn, so that a slow minute hits all alike
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"device {args.device}, torch {torch.__version__}, {len(inputs)} images of demo_val"
    )
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(
            f"{name:30} {value:7.2f} s   {value / median['bare forwards']:.3f} x forwards   "
            f"{value / median['evaluation, no patch']:.3f} x no patch"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(f"peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
