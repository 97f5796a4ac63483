"""The training loop of the built-in engine."""

from __future__ import annotations

import json
import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.files import atomic_write
from detectron2_patch.progress import progress
from detectron2_patch.training import checkpoints, solver
from detectron2_patch.training.data import batches

logger = logging.getLogger(__name__)
WINDOW = 20  # iterations between two lines of metrics.json, as detectron2 writes them


class Metrics:
    """Running medians of the losses, a line of ``metrics.json`` every twenty iterations."""

    def __init__(self, path: Path, max_iter: int) -> None:
        self.path, self.max_iter = path, max_iter
        self.history: dict[str, deque[float]] = {}

    def add(self, iteration: int, values: Mapping[str, float], rate: float) -> None:
        """Take one iteration's values; write a line when one is due."""
        for name, value in values.items():
            self.history.setdefault(name, deque(maxlen=WINDOW)).append(value)
        if (iteration + 1) % WINDOW and iteration + 1 != self.max_iter:
            return
        line = {name: statistics.median(window) for name, window in self.history.items()}
        line["eta_seconds"] = line["time"] * (self.max_iter - iteration - 1)
        line.update(iteration=iteration, lr=rate)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")


def train(cfg, model: nn.Module, dataset: CocoDataset, *, resume: bool) -> Path:
    """Train ``model`` in place for ``SOLVER.MAX_ITER`` iterations; return the last checkpoint.

    Writes ``metrics.json`` and checkpoints to ``OUTPUT_DIR``. Every draw depends on the seed and
    the iteration alone, so a training that was killed and resumed ends as if it had not been.

    Raises:
        InputError: the loss is no longer finite, or the folder can't be written or resumed from.
    """
    folder, solver_cfg = Path(cfg.OUTPUT_DIR), cfg.SOLVER
    optimizer = solver.build_optimizer(cfg, model)
    scheduler = solver.build_scheduler(cfg, optimizer)
    seed = cfg.SEED if cfg.SEED >= 0 else torch.seed() % 2**31
    start = 0
    if resume and (state := checkpoints.load_last(folder)):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        start, seed = state["iteration"] + 1, state.get("seed", seed)

    def save(name: str, iteration: int) -> Path:
        parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        state = {key: part.state_dict() for key, part in parts.items()}
        return checkpoints.save(folder, name, {**state, "iteration": iteration, "seed": seed})

    _prepare(folder, start)
    metrics = Metrics(folder / "metrics.json", solver_cfg.MAX_ITER)
    # A CPU trains a sixth faster with channels last; evaluation goes back, for detectron2's bits.
    model.train().to(memory_format=torch.channels_last)
    stream = batches(cfg, dataset, seed, start)
    logger.info("training on %s from iteration %d, seed %d", dataset.name, start, seed)
    with progress(total=solver_cfg.MAX_ITER, initial=start, desc="training", unit="it") as bar:
        for iteration in range(start, solver_cfg.MAX_ITER):
            rate = optimizer.param_groups[0]["lr"]
            values = _step(cfg, model, optimizer, stream, seed + iteration)
            scheduler.step()
            if not math.isfinite(values["total_loss"]):
                raise InputError(f"the loss is {values['total_loss']} at iteration {iteration}: "
                                 f"training diverged; lower SOLVER.BASE_LR ({solver_cfg.BASE_LR})")
            metrics.add(iteration, values, rate)
            bar.set_postfix(loss=f"{values['total_loss']:.3f}", refresh=False)
            bar.update()
            if (iteration + 1) % solver_cfg.CHECKPOINT_PERIOD == 0:
                save(f"model_{iteration:07d}", iteration)
    model.eval().to(memory_format=torch.contiguous_format)
    return save("model_final", solver_cfg.MAX_ITER - 1)


def _prepare(folder: Path, start: int) -> None:
    """Make the folder; drop lines of ``metrics.json`` from after the iteration to start at."""
    path = folder / "metrics.json"
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if json.loads(line)["iteration"] < start]
    with atomic_write(path) as file:
        file.write("".join(line + "\n" for line in kept).encode())


def _step(cfg, model: nn.Module, optimizer, stream, seed: int) -> dict[str, float]:
    """One iteration; returns its losses and times in seconds."""
    began = time.perf_counter()
    samples = next(stream)
    data_time = time.perf_counter() - began
    torch.manual_seed(seed)  # anchors and proposals are sampled at random
    images = [image for image, _ in samples]
    targets = [target.to(model.device) for _, target in samples]
    with torch.autocast(model.device.type, torch.bfloat16, enabled=cfg.SOLVER.AMP.ENABLED):
        losses = model(images, targets)
    total = sum(losses.values())
    optimizer.zero_grad()
    total.backward()
    solver.clip_gradients(cfg, model)
    optimizer.step()
    values = {name: loss.item() for name, loss in losses.items()}
    return {
        **values,
        "total_loss": total.item(),
        "data_time": data_time,
        "time": time.perf_counter() - began,
    }
