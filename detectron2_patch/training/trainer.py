"""The training loop of the built-in engine."""

from __future__ import annotations

import json
import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.errors import InputError
from detectron2_patch.training import checkpoints, solver
from detectron2_patch.training.data import batches, check_batch
from detectron2_patch.utils import distributed
from detectron2_patch.utils.files import add_line, atomic_write
from detectron2_patch.utils.progress import progress

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
        add_line(self.path, json.dumps(line, sort_keys=True))


def train(cfg, model: nn.Module, dataset: CocoDataset, *, resume: bool) -> Path:
    """Train ``model`` in place for ``SOLVER.MAX_ITER`` iterations; return the last checkpoint.

    Writes ``metrics.json`` and checkpoints to ``OUTPUT_DIR``. Every draw depends on the seed and
    the iteration alone, so a training that was killed and resumed ends as if it had not been.
    Of several processes each takes its share of a batch, and rank 0 writes.

    Raises:
        InputError: the loss is no longer finite, the folder can't be written or resumed from, or
            the configuration can't be shared by the processes there are.
    """
    _check_processes(cfg)
    folder, solver_cfg = Path(cfg.OUTPUT_DIR), cfg.SOLVER
    optimizer = solver.build_optimizer(cfg, model)
    scheduler = solver.build_scheduler(cfg, optimizer)
    seed = cfg.SEED if cfg.SEED >= 0 else torch.seed() % 2**31
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    start = 0
    if resume and (left := checkpoints.restore(folder, parts)):
        start, seed = left["iteration"] + 1, left.get("seed", seed)

    def save(name: str, iteration: int) -> None:
        if distributed.rank() > 0:
            return
        state = {key: part.state_dict() for key, part in parts.items()}
        checkpoints.save(folder, name, {**state, "iteration": iteration, "seed": seed})

    if distributed.rank() == 0:
        _prepare(folder, start)
    metrics = Metrics(folder / "metrics.json", solver_cfg.MAX_ITER)
    # A CPU trains a sixth faster with channels last; evaluation goes back, for detectron2's bits.
    model.train().to(memory_format=torch.channels_last)
    forward = _parallel(model)
    stream = batches(cfg, dataset, seed, start)
    logger.info("training on %s from iteration %d, seed %d", dataset.name, start, seed)
    with progress(
        total=solver_cfg.MAX_ITER,
        initial=start,
        desc="training",
        unit="it",
        disable=distributed.rank() > 0,
    ) as bar:
        for iteration in range(start, solver_cfg.MAX_ITER):
            rate = optimizer.param_groups[0]["lr"]
            values = _step(cfg, forward, model, optimizer, stream, seed + iteration)
            scheduler.step()
            if not math.isfinite(values["total_loss"]):
                raise InputError(
                    f"the loss is {values['total_loss']} at iteration {iteration}: "
                    f"training diverged; lower SOLVER.BASE_LR ({solver_cfg.BASE_LR})"
                )
            if distributed.rank() == 0:
                metrics.add(iteration, values, rate)
            bar.set_postfix(loss=f"{values['total_loss']:.3f}", refresh=False)
            bar.update()
            if (iteration + 1) % solver_cfg.CHECKPOINT_PERIOD == 0:
                save(f"model_{iteration:07d}", iteration)
    model.eval().to(memory_format=torch.contiguous_format)
    save("model_final", solver_cfg.MAX_ITER - 1)
    distributed.barrier()  # the others may read it now
    return checkpoints.last_path(folder)


def freeze_backbone(model: nn.Module) -> None:
    """Let a training change the heads alone: the maps, and what was made for them, stay."""
    backbone: Any = model.backbone
    backbone.requires_grad_(False)
    backbone.register_forward_pre_hook(_stay_in_evaluation)  # its norms, too


def _stay_in_evaluation(module: nn.Module, args: Any) -> None:
    module.eval()


def _check_processes(cfg) -> None:
    """Refuse what several processes can't share."""
    processes = distributed.world_size()
    if processes == 1:
        return
    check_batch(cfg)
    if cfg.SEED < 0:
        raise InputError(
            f"SEED is {cfg.SEED} for {processes} processes, which have to draw the "
            "same batches; set SEED to 0 or more"
        )
    for key, norm in (
        ("MODEL.RESNETS.NORM", cfg.MODEL.RESNETS.NORM),
        ("MODEL.FPN.NORM", cfg.MODEL.FPN.NORM),
    ):
        if norm == "SyncBN":
            raise InputError(
                f"{key} is 'SyncBN', which the built-in engine can't share between "
                "processes; set BN, or train with --engine detectron2"
            )


def _parallel(model: nn.Module) -> nn.Module:
    """``model`` itself, or, with several processes, a wrapper that averages their gradients."""
    if distributed.world_size() == 1:
        return model
    device = model.device
    return nn.parallel.DistributedDataParallel(
        model, device_ids=None if device.type == "cpu" else [device]
    )


def _prepare(folder: Path, start: int) -> None:
    """Make the folder; drop lines of ``metrics.json`` from after the iteration to start at."""
    path = folder / "metrics.json"
    lines: list[str] = []
    if path.exists():
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; move it away") from error
    iterations = [_iteration(line) for line in lines]
    if None in iterations:
        logger.warning("%s: %d lines are damaged and dropped", path, iterations.count(None))
    with atomic_write(path) as file:  # which shows that the folder can be written
        for line, iteration in zip(lines, iterations):
            if iteration is not None and iteration < start:
                file.write(f"{line}\n".encode())
    if not path.stat().st_size:  # a training that fails at once leaves nothing
        path.unlink()


def _iteration(line: str) -> int | None:
    """Of a line of ``metrics.json``; None where that says none."""
    try:
        found = json.loads(line)["iteration"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if type(found) is int else None


@contextmanager
def one_value_told() -> Iterator[None]:
    """Say what to change where a norm sees one value, which has no variance.

    Raises:
        InputError: instead of torch's error.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            "a batch norm sees one value of each channel, or a group norm one of each group, "
            "which has no variance; raise SOLVER.IMS_PER_BATCH or INPUT.MIN_SIZE_TRAIN (evaluating "
            "INPUT.MIN_SIZE_TEST), or set MODEL.RESNETS.NORM and MODEL.FPN.NORM to FrozenBN or ''"
        ) from error


def _step(
    cfg, forward: nn.Module, model: nn.Module, optimizer, stream, seed: int
) -> dict[str, float]:
    """One iteration; returns its losses and times in seconds. ``forward`` runs ``model``."""
    began = time.perf_counter()
    samples = next(stream)
    data_time = time.perf_counter() - began
    # Anchors and proposals are sampled at random, in each process its own.
    torch.manual_seed(seed * distributed.world_size() + distributed.rank())
    images = [image for image, _ in samples]
    targets = [target.to(model.device) for _, target in samples]
    with torch.autocast(str(model.device.type), torch.bfloat16, enabled=cfg.SOLVER.AMP.ENABLED):
        with one_value_told():
            losses = forward(images, targets)
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
