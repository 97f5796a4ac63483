"""Optimiser and learning-rate schedule, by detectron2's ``SOLVER`` keys."""

from __future__ import annotations

import math
from bisect import bisect_right

import torch
from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


def build_optimizer(cfg, model: nn.Module) -> torch.optim.SGD:
    """SGD with momentum; norms and biases may have a weight decay or a rate of their own."""
    solver = cfg.SOLVER
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            rate, decay = solver.BASE_LR, solver.WEIGHT_DECAY
            if isinstance(module, NORMS):
                decay = solver.WEIGHT_DECAY_NORM
            if name == "bias":
                rate *= solver.BIAS_LR_FACTOR
                if solver.WEIGHT_DECAY_BIAS is not None:
                    decay = solver.WEIGHT_DECAY_BIAS
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.SGD(
        [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()],
        momentum=solver.MOMENTUM,
        nesterov=solver.NESTEROV,
    )


def build_scheduler(cfg, optimizer) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule below, stepped once an iteration."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda iteration: rate_multiplier(cfg.SOLVER, iteration)
    )


def rate_multiplier(solver, iteration: int) -> float:
    """Factor on the base rate: warm-up (Goyal et al. 2017) into steps or a half cosine."""
    warmup = min(solver.WARMUP_ITERS, solver.MAX_ITER)
    if iteration >= warmup:
        span = solver.MAX_ITER - warmup if solver.RESCALE_INTERVAL else solver.MAX_ITER
        start = warmup if solver.RESCALE_INTERVAL else 0
        return _schedule(solver, (iteration - start) / max(span, 1))
    first = solver.WARMUP_FACTOR * _schedule(solver, 0.0)
    if solver.WARMUP_METHOD == "constant":
        return first
    last = _schedule(solver, 0.0 if solver.RESCALE_INTERVAL else warmup / solver.MAX_ITER)
    return first + (last - first) * iteration / warmup


def _schedule(solver, progress: float) -> float:
    """The schedule without its warm-up; ``progress`` runs from 0 to 1."""
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        end = solver.BASE_LR_END / solver.BASE_LR
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))
    steps = [step / solver.MAX_ITER for step in solver.STEPS if step <= solver.MAX_ITER]
    return solver.GAMMA ** bisect_right(steps, progress)


def clip_gradients(cfg, model: nn.Module) -> None:
    """Clip each parameter's gradient by value or by its own norm, as detectron2 does."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return
    for parameter in model.parameters():
        if parameter.grad is None:
            continue
        if clip.CLIP_TYPE == "norm":
            nn.utils.clip_grad_norm_(parameter, clip.CLIP_VALUE, clip.NORM_TYPE)
        else:
            nn.utils.clip_grad_value_(parameter, clip.CLIP_VALUE)
