"""Part ``training``: the demo's training for some iterations, with and without mixed precision."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from detectron2_patch.engines.choice import build_engine
from gpu_parts.bench import Bench
from gpu_parts.configs import demo_cfg
from gpu_parts.images import scenes
from gpu_parts.timing import forget_peak, peak_mib

NOISE = 3.0  # standard deviations over the seeds
# or that share of the loss: few seeds may lie close to each other by chance, and at first mixed
# precision has many equal scores, so that others are drawn to learn from
SHARE = 0.05


class OutOfTime(Exception):
    """The training has had its seconds."""


class Until:
    """A dataset whose images are there for some seconds: it ends a training in between."""

    def __init__(self, dataset, seconds: float) -> None:
        self.dataset, self.end = dataset, time.monotonic() + seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def image_path(self, image: dict) -> Path:
        if time.monotonic() > self.end:
            raise OutOfTime
        return self.dataset.image_path(image)


def run(bench: Bench) -> None:
    """Rows of each training; checks that the losses are the CPU's within their noise.

    The noise is that of other seeds, whose initial weights, batches and samples are others.
    """
    dataset = scenes("train", bench.sizes.training_scenes)
    mixed = train(bench, dataset, bench.device, True, 0)
    plain = train(bench, dataset, bench.device, False, 0)
    cpu = train(bench, Until(dataset, bench.sizes.cpu_seconds), "cpu", True, 0)
    others = [
        train(bench, dataset, bench.device, True, seed) for seed in range(1, bench.sizes.seeds)
    ]
    count = len(cpu)
    wanted = _late(cpu, count)
    noise = statistics.stdev([_late(one, count) for one in (mixed, *others)])
    allowed = max(NOISE * noise, SHARE * wanted)
    for what, losses in (("mixed precision", mixed), ("float32", plain)):
        gap = abs(_late(losses, count) - wanted)
        bench.check(
            f"loss of {what} beside the CPU's {wanted:.3f}, at most {allowed:.2g} apart "
            f"(seeds {noise:.2g})",
            gap,
            gap <= allowed,
        )


def train(bench: Bench, dataset, device: str, mixed: bool, seed: int) -> list[float]:
    """One training, its row, and its losses: the median of each twenty iterations."""
    with tempfile.TemporaryDirectory() as folder:
        opts = [*bench.sizes.training_opts, "SOLVER.MAX_ITER", str(bench.sizes.iterations)]
        opts += ["SOLVER.AMP.ENABLED", str(mixed), "SEED", str(seed), "OUTPUT_DIR", folder]
        cfg = demo_cfg(opts)
        torch.manual_seed(seed)  # the initial weights
        engine = build_engine("torchvision", cfg, device)
        forget_peak(device)
        try:
            engine.train(dataset, None, resume=False)
        except OutOfTime:
            pass
        text = (Path(folder) / "metrics.json").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    if not lines:
        raise RuntimeError(f"no twenty iterations of training on {device} in the time there is")
    losses = [line["total_loss"] for line in lines]
    step = statistics.median(line["time"] for line in lines[1:] or lines)  # the first warms up
    bench.row(
        device=device,
        precision="mixed" if mixed else "float32",
        seed=seed,
        iterations=lines[-1]["iteration"] + 1,
        images_a_second=cfg.SOLVER.IMS_PER_BATCH / step,
        first_loss=losses[0],
        last_loss=losses[-1],
        peak_MiB=peak_mib(device),
    )
    return losses


def _late(losses: list[float], count: int) -> float:
    """The mean loss over the second half of the first ``count`` lines: those that all have."""
    return statistics.mean(losses[count // 2 : count])
