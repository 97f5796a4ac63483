#!/usr/bin/env python3
"""What restorers leave of a missing level: the share of its variance that they get wrong.

    python benchmarks/restorers.py [--fit-images 80] [--images 20]

The demo's detector: fitted on training scenes, measured on validation scenes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.fitting import fit
from detectron2_patch.codec.transmission import Channel
from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import open_dataset
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.torchvision import TorchvisionEngine
from detectron2_patch.settings.parsing import parse_setting
from detectron2_patch.utils.sampling import evenly

CASES = [
    (["p3"], "p2"),
    (["p3", "p5"], "p2"),
    (["p3", "p5"], "p4"),
    (["p2"], "p3"),
    (["p2"], "p5"),
    (["p4"], "p2"),
]


def pyramids(engine, dataset, count):
    """Clean pyramids of ``count`` images, spread over the dataset."""
    for image in evenly(dataset.images, count):
        with torch.inference_mode():
            yield engine.pyramid(engine.batch([engine.read(dataset.image_path(image))]))


def main() -> None:
    """Print a row a case: bilinear, and fitted maps of 1x1 and 3x3 elements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit-images", type=int, default=80)
    parser.add_argument("--images", type=int, default=20)
    args = parser.parse_args()
    engine = TorchvisionEngine(load_cfg(Path("configs/demo.yaml")), "cpu")
    engine.load_weights(WEIGHTS)
    train, val = (open_dataset(None, (name,), "") for name in ("demo_train", "demo_val"))
    sends = sorted({tuple(send) for send, _ in CASES})
    fitted = {
        kernel: Fitted({}, fit(pyramids(engine, train, args.fit_images), kernel, sends))
        for kernel in (1, 3)
    }
    ways = {
        "bilinear": ("nearest", None),
        "fitted 1x1": ("fit", fitted[1]),
        "fitted 3x3": ("fit", fitted[3]),
    }
    wrong = {(case, way): 0.0 for case in range(len(CASES)) for way in ways}
    whole = dict.fromkeys(range(len(CASES)), 0.0)
    for clean in pyramids(engine, val, args.images):
        for case, (send, level) in enumerate(CASES):
            x = clean[level]
            whole[case] += ((x - x.mean(dim=(2, 3), keepdim=True)) ** 2).sum().item()
            for way, (word, parts) in ways.items():
                treatment = parse_setting(send=send, restore=[word])[level]
                made = Channel(clean, parts).map(level, treatment)
                wrong[case, way] += ((made - x) ** 2).sum().item()
    print("| sent | restored | " + " | ".join(ways) + " |")
    print("|---|---|" + "---|" * len(ways))
    for case, (send, level) in enumerate(CASES):
        shares = " | ".join(f"{wrong[case, way] / whole[case]:.1%}" for way in ways)
        print(f"| {' '.join(send)} | {level} | {shares} |")


if __name__ == "__main__":
    main()
