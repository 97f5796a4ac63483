#!/usr/bin/env python3
"""One pass beside the one-by-one run: random settings of a full grid, detection by detection.

Prints, for each scope, how many detections were compared, how many are not bit for bit the same,
how many are missing or of another class, the largest gaps, and the largest difference in AP.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import open_dataset
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.evaluation.coco import OVERALL, CocoEvaluator
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.grids import grid, with_scopes
from detectron2_patch.settings.levels import LEVELS, SCOPES
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.plan import make_plan
from detectron2_patch.sweep.suppress import unpack
from detectron2_patch.utils.progress import progress

ROOT = Path(__file__).resolve().parent.parent
RATIOS = (1.0, 2.0, 4.0, 8.0, 16.0)


class Gaps:
    """Counts and largest gaps between two lists of detections."""

    def __init__(self) -> None:
        self.compared = self.differing = self.lost = 0
        self.box = self.score = 0.0

    def add(self, one: dict, other: dict) -> None:
        """Compare one image's detections, in order where their classes agree."""
        self.compared += len(other["scores"])
        if not np.array_equal(one["classes"], other["classes"]):
            same = _matched(one, other)
            self.lost += len(other["scores"]) - len(same)
            one = {key: value[[i for i, _ in same]] for key, value in one.items()}
            other = {key: value[[j for _, j in same]] for key, value in other.items()}
        if len(one["scores"]):
            box = np.abs(one["boxes"] - other["boxes"]).max(axis=1)
            score = np.abs(one["scores"] - other["scores"])
            self.differing += int(((box > 0) | (score > 0)).sum())
            self.box, self.score = max(self.box, box.max()), max(self.score, score.max())


def _matched(one: dict, other: dict) -> list[tuple[int, int]]:
    pairs, free = [], set(range(len(one["scores"])))
    for j in range(len(other["scores"])):
        for i in sorted(free):
            if (
                one["classes"][i] == other["classes"][j]
                and np.abs(one["boxes"][i] - other["boxes"][j]).max() < 0.1
                and abs(one["scores"][i] - other["scores"][j]) < 1e-3
            ):
                pairs.append((i, j))
                free.discard(i)
                break
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-file", default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--weights", default=WEIGHTS, type=Path)
    parser.add_argument("--data", nargs=2, metavar=("JSON", "IMAGES"))
    parser.add_argument("--engine", default="torchvision", choices=("torchvision", "detectron2"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--settings", type=int, default=32, help="random settings a scope")
    parser.add_argument("--images", type=int, help="the first N images; left out: all")
    args = parser.parse_args()
    cfg = load_cfg(args.config_file)
    dataset = open_dataset(args.data, cfg.DATASETS.TEST, "DATASETS.TEST")
    dataset = replace(dataset, images=dataset.images[: args.images])
    engine = build_engine(args.engine, cfg, args.device)
    engine.load_weights(args.weights)
    settings = with_scopes(grid(dict.fromkeys(LEVELS, RATIOS)), SCOPES)
    one_pass = OnePass(engine, make_plan(settings))
    generator = random.Random(0)
    chosen = [
        index
        for start in (0, 5**5)
        for index in generator.sample(range(start, start + 5**5), args.settings)
    ]
    gaps = {scope: Gaps() for scope in SCOPES}
    swept: dict[int, list] = {index: [] for index in chosen}
    single: dict[int, list] = {index: [] for index in chosen}
    for image in progress(dataset.images, unit="image", desc="comparing"):
        loaded = engine.read(dataset.image_path(image))
        (found,), _ = one_pass([loaded])
        flags = unpack(found.members, len(settings))
        for index in chosen:
            mine = flags[:, index]
            one = {name: getattr(found, name)[mine] for name in ("boxes", "scores", "classes")}
            with patch_pyramid(engine.model, settings[index]):
                other = engine.detect(loaded)
            gaps[settings[index].scope].add(one, other)
            swept[index].append({"image_id": image["id"], **one})
            single[index].append({"image_id": image["id"], **other})
    evaluator = CocoEvaluator(dataset)
    print(
        f"{dataset.name}, {len(dataset.images)} images, engine {engine.name}, {args.device}, "
        f"{args.settings} of 3,125 settings a scope"
    )
    for scope, one in gaps.items():
        drift = max(
            abs((a[key] or 0) - (b[key] or 0))
            for index in chosen
            if settings[index].scope == scope
            for a, b in [(evaluator.evaluate(swept[index]), evaluator.evaluate(single[index]))]
            for key in OVERALL
        )
        print(
            f"{scope:8} {one.compared} detections, {one.differing} not bit for bit, "
            f"{one.lost} missing; largest gap {one.box:.2g} px, {one.score:.2g} in score, "
            f"{drift:.2g} in AP"
        )


if __name__ == "__main__":
    main()
