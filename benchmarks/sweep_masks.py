#!/usr/bin/env python3
"""What a sweep of a Mask R-CNN costs beside one evaluation and beside its floor, in one run.

An R50 of a quarter of its width at 800 pixels, with random weights, on scenes of the demo whose
boxes have masks. Prints wall and CPU seconds, child processes included, of one evaluation (the mean
of some settings) and of a sweep of random settings in both scopes, AP of boxes and masks included;
and the floor: the network's seconds of the pass, more of them the fewer detections settings share.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

# The rest is imported below: the processes that compute AP read this file, too, and need less.
ROOT = Path(__file__).resolve().parent.parent
# A quarter of the channels of the zoo's mask_rcnn_R_50_FPN.
NARROW = (
    "MODEL.RESNETS.DEPTH 50 MODEL.RESNETS.STEM_OUT_CHANNELS 16 MODEL.RESNETS.RES2_OUT_CHANNELS 64 "
    "MODEL.RESNETS.WIDTH_PER_GROUP 16 MODEL.FPN.OUT_CHANNELS 64 MODEL.ROI_BOX_HEAD.FC_DIM 256 "
    "MODEL.MASK_ON True MODEL.ROI_MASK_HEAD.NUM_CONV 4 MODEL.ROI_MASK_HEAD.CONV_DIM 64 "
    "MODEL.ROI_HEADS.NUM_CLASSES 6 MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.05"
).split()
RATIOS = (1.0, 2.0, 4.0, 8.0)
SINGLES = 8  # settings that are evaluated one by one


def masked_scenes(folder: Path, images: int):
    """Scenes of the demo; each box has itself as its mask."""
    from detectron2_patch.data import demo
    from detectron2_patch.data.coco import load_coco

    demo.IMAGES = {"val": images}
    scenes = load_coco("scenes", *demo.ensure_demo("val", folder))
    document = json.loads(scenes.json_file.read_text())
    for one in document["annotations"]:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    file = folder / "masks.json"
    file.write_text(json.dumps(document))
    return load_coco("masks", file, scenes.image_root)


def random_settings(count: int):
    """Settings of the full grid of ratios, half of them in each scope."""
    from detectron2_patch.settings.grids import grid, with_scopes
    from detectron2_patch.settings.levels import LEVELS

    full = grid(dict.fromkeys(LEVELS, RATIOS))
    return with_scopes(random.Random(0).sample(full, count // 2), ["rpn", "pyramid"])


def seconds(work) -> tuple[float, float]:
    """Wall and CPU seconds, those of child processes included, that ``work()`` takes."""

    def used() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(one.ru_utime + one.ru_stime for one in both)

    wall, cpu = time.perf_counter(), used()
    work()
    return time.perf_counter() - wall, used() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="torchvision", choices=("torchvision", "detectron2"))
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--settings", type=int, default=64, help="an even number")
    parser.add_argument("--size", type=int, default=800, help="INPUT.MIN_SIZE_TEST")
    args = parser.parse_args()

    import torch
    from sweep import sweep  # the benchmark beside this one

    from detectron2_patch import pipeline
    from detectron2_patch.sweep.onepass import OnePass
    from detectron2_patch.utils.machine import usable_cores

    sys.path.insert(0, str(ROOT / "tests"))
    from random_models import random_model

    engine = random_model([*NARROW, "INPUT.MIN_SIZE_TEST", args.size], engine=args.engine)
    settings = random_settings(args.settings)
    few = settings[:: max(1, len(settings) // SINGLES)]
    done = []
    with tempfile.TemporaryDirectory() as folder:
        dataset = masked_scenes(Path(folder), args.images)
        pipeline.evaluate(engine, dataset, few[0])  # what is done once, is done
        one = seconds(lambda: [pipeline.evaluate(engine, dataset, setting) for setting in few])
        all_of_them = seconds(lambda: done.append(sweep(engine, dataset, settings, 1)[1]))
    spent = done[0].seconds
    wall, cpu = (took / len(few) for took in one)
    floor = sum(spent[part] for part in OnePass.NETWORK)
    print(
        f"{platform.machine()}, {usable_cores()} cores, torch {torch.__version__}, "
        f"{args.engine}, {len(dataset.images)} images\n"
        f"one evaluation: {wall:.2f} s, {cpu:.2f} s of CPU\n"
        f"{len(settings)} settings: {all_of_them[0]:.1f} s, {all_of_them[0] / wall:.1f} "
        f"evaluations; {all_of_them[1]:.1f} s of CPU, {all_of_them[1] / cpu:.1f} evaluations\n"
        f"floor: {floor:.1f} s, {floor / wall:.1f} evaluations\n"
        "seconds: " + ", ".join(f"{part} {took:.1f}" for part, took in spent.items())
    )


if __name__ == "__main__":
    main()
