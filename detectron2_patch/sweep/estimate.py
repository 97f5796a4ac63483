"""How long a sweep will take and how much disk, from a rehearsal on one image."""

from __future__ import annotations

import logging
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.bootstrap import Bootstrap
from detectron2_patch.evaluation.coco import CocoEvaluator
from detectron2_patch.sweep.onepass import Detected, OnePass
from detectron2_patch.sweep.plan import Plan
from detectron2_patch.sweep.spool import encode
from detectron2_patch.sweep.suppress import unpack
from detectron2_patch.sweep.task import Sweep

logger = logging.getLogger(__name__)
RESULT_BYTES = 4000  # what a result file takes, about
REPLICATE_BYTES = 70  # what a replicate's AP, APs, APm and APl take in it


def announce(sweep: Sweep, plan: Plan) -> None:
    """Tell how much there is to do.

    Raises:
        InputError: the memory or the disk has too little space.
    """
    images, one_pass = sweep.dataset.images, OnePass(sweep.engine, plan, sweep.fitted)
    loaded = sweep.engine.read(sweep.dataset.image_path(images[len(images) // 2]))
    _check_memory(sweep, one_pass, loaded)
    one_pass([loaded])  # the first run sets up what later ones find ready
    start = time.perf_counter()
    (found,), _ = one_pass([loaded])
    seconds = (time.perf_counter() - start) * len(images)
    seconds += _evaluation_seconds(sweep, plan, found) * len(plan.settings) / sweep.processes
    results = (RESULT_BYTES + REPLICATE_BYTES * sweep.replicates) * len(plan.settings)
    needed = len(encode([0], [found], np.zeros((2, 0)))) * len(images) + results
    logger.info(
        "%d settings from %d treatments of single levels, on %d images: about %s, and %s of disk, "
        "of which %s stay",
        len(plan.settings),
        sum(map(len, plan.treatments.values())),
        len(images),
        _duration(seconds),
        _size(needed),
        _size(results),
    )
    free = shutil.disk_usage(sweep.folder).free
    if needed > free:
        raise InputError(
            f"{sweep.folder} has {_size(free)} free and the sweep needs about "
            f"{_size(needed)}; make room, or choose another --results-dir"
        )


def _check_memory(sweep: Sweep, one_pass: OnePass, loaded) -> None:
    """Refuse a plan whose maps of one batch don't fit, before it takes the machine with it."""
    clean = sweep.engine.pyramid(sweep.engine.batch([loaded]))
    kept = one_pass.kept()
    needed = sweep.batch_size * sum(4 * clean[level].numel() for level, _ in kept)
    free: float
    if one_pass.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(next(iter(clean.values())).device)
    else:
        free = _free_memory()
    if needed > free:
        raise InputError(
            f"the maps of a batch under {len(kept)} treatments take {_size(needed)} "
            f"of memory and {_size(free)} are free; ask for fewer settings at a time"
            + (", or a smaller --batch-size" if sweep.batch_size > 1 else "")
        )


def _free_memory() -> float:
    """Bytes that can be had, where Linux tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(float(x.split()[1]) for x in lines if x.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return math.inf


def _evaluation_seconds(sweep: Sweep, plan: Plan, found: Detected) -> float:
    """AP of one setting, as if every image had the detections of this one."""
    mine = unpack(found.members, len(plan.settings))[:, 0]
    one = {name: getattr(found, name)[mine] for name in ("boxes", "scores", "classes")}
    evaluator = CocoEvaluator(sweep.dataset)
    rows = evaluator.rows({"image_id": image["id"], **one} for image in sweep.dataset.images)
    bootstrap = Bootstrap(sweep.dataset, sweep.replicates) if sweep.replicates else None
    start = time.perf_counter()
    evaluator.evaluate_rows(rows)
    if bootstrap:
        bootstrap.evaluate(rows)
    return time.perf_counter() - start


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
