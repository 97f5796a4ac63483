#!/usr/bin/env python3
"""What a sweep costs beside one evaluation and beside its floor, measured in one run.

Prints, for the demo's detector on its validation images, each sweep's wall time as a multiple of
one evaluation (their median, taken before, between and after), the parts it went to, and its ratio
to the floor: backbone, treatments through the RPN, and boxes through the box head. Then the cost
of one setting more, and peak memory, each from a process of its own.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from detectron2_patch import pipeline
from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import load_dataset
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.torchvision import TorchvisionEngine
from detectron2_patch.results.schema import make_result
from detectron2_patch.settings.grids import grid, with_scopes
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.sweep import run as sweeping
from detectron2_patch.sweep.onepass import OnePass
from detectron2_patch.sweep.task import Sweep
from detectron2_patch.utils.machine import usable_cores

ROOT = Path(__file__).resolve().parent.parent
RATIOS = (1.0, 2.0, 4.0, 8.0, 16.0)
PARTS = ("backbone", "rpn", "merge", "box head", "suppress", "images", "spool", "AP")


def sweep(engine, dataset, settings, batch_size: int):
    """Sweep into a folder that is thrown away; wall seconds and what was done."""
    constant = partial(
        make_result,
        args={},
        dataset=dataset,
        weights_path=WEIGHTS,
        weights_sha256="0",
        config_digest="",
        config_file=None,
        engine=engine.name,
        versions={},
    )

    def describe(setting, results, payload, seconds):
        return constant(
            setting=setting,
            results=results,
            payload=payload,
            seconds=seconds,
        )

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = sweeping.run(
            Sweep(engine, dataset, settings, describe, Path(folder), batch_size=batch_size)
        )
        return time.perf_counter() - start, done


def peak_memory(*arguments: str) -> float:
    """Peak resident MiB of a tool's largest process, from a process of its own."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, capture_output=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-c", code, sys.executable, *arguments, "--results-dir", folder]
        done = subprocess.run(line, check=True, capture_output=True, text=True, cwd=ROOT)
    return int(done.stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=1)
    args = parser.parse_args()
    cfg = load_cfg(ROOT / "configs" / "demo.yaml")
    dataset = load_dataset("demo_val")
    engine = TorchvisionEngine(cfg, args.device)
    engine.load_weights(WEIGHTS)
    print(
        f"{platform.processor() or platform.machine()}, {usable_cores()} cores, "
        f"device {args.device}, torch {torch.__version__}, {len(dataset.images)} images"
    )

    def evaluation() -> float:
        clean = dict.fromkeys(LEVELS, 1.0)
        return pipeline.evaluate(engine, dataset, clean, cfg.DATALOADER.NUM_WORKERS).seconds

    singles, walls = [evaluation()], {}
    print(
        f"{'sweep':>14} {'wall s':>7} {'x one':>6} {'x floor':>7}  "
        + " ".join(f"{part:>8}" for part in PARTS)
        + "  boxes"
    )
    for scope in ("rpn", "pyramid"):
        for ratios in (RATIOS[:4], RATIOS):
            settings = with_scopes(grid(dict.fromkeys(LEVELS, ratios)), [scope])
            wall, done = sweep(engine, dataset, settings, args.batch_size)
            singles.append(evaluation())
            done.seconds["rpn"] += done.seconds.pop("treat")  # the treatments through the RPN
            walls[scope, len(settings)] = wall
            floor = sum(done.seconds[part] for part in OnePass.NETWORK)
            print(
                f"{scope:>8}{len(settings):6} {wall:7.1f} "
                f"{wall / statistics.mean(singles[-2:]):6.2f} {wall / floor:7.2f}  "
                + " ".join(f"{done.seconds[part]:8.1f}" for part in PARTS)
                + f"  {done.rows / len(dataset.images):.0f} an image"
            )
    one = statistics.median(singles)
    print(f"one evaluation: {one:.1f} s ({min(singles):.1f} to {max(singles):.1f})")
    for scope in ("rpn", "pyramid"):
        more = (walls[scope, 5**5] - walls[scope, 4**5]) / (5**5 - 4**5)
        print(
            f"one setting more, {scope}: {more * 1000:.1f} ms, {more / one:.2%} of an evaluation "
            "(the 2,101 that a fifth ratio adds, its treatments included)"
        )
    grids = ["tools/sweep.py", "--scope", "rpn", "pyramid", "--grid", "1", "2", "4", "8", "16"]
    single = peak_memory("tools/train_net.py", "--device", args.device)
    print(
        f"peak memory: one evaluation {single:.0f} MiB, 6,250 settings "
        f"{peak_memory(*grids, '--device', args.device):.0f} MiB (the largest process)"
    )
    print(f"this benchmark {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
