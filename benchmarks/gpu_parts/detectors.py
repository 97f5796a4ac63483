"""Detectors to measure: the demo's own, and the zoo's with random weights that behave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.base import Engine
from detectron2_patch.engines.choice import build_engine
from detectron2_patch.rcnn.layers import FrozenBatchNorm
from gpu_parts.configs import demo_cfg, zoo_cfg

# About what a trained detector has: standard deviations of its outputs, and candidates (a box and a
# class of more than SCORE_THRESH_TEST) a proposal.
SHARE = 0.3
SPREADS = {"objectness_logits": 2.0, "anchor_deltas": 0.3, "cls_score": 2.5, "bbox_pred": 1.0}


def demo_detector(device: str, opts: Sequence[str] = ()) -> Engine:
    """The shipped detector."""
    engine = build_engine("torchvision", demo_cfg(opts), device)
    engine.load_weights(WEIGHTS)
    return engine


def random_detector(name: str, opts: Sequence[str], device: str, image: Path) -> Engine:
    """A detector of the zoo with random weights, its norms and outputs fitted to one image.

    Without that its scores are all alike, and it detects nothing, or everything everywhere.
    """
    torch.manual_seed(0)
    engine = build_engine("torchvision", zoo_cfg(name, opts), device)
    tensor = engine.read(image).tensor
    fit_norms(engine.model, tensor)
    spread_outputs(engine.model, tensor)
    favour_background(engine.model, tensor, engine.score_threshold)
    return engine


@torch.no_grad()
def fit_norms(model: nn.Module, image: Tensor) -> None:
    """Give the frozen norms the statistics of ``image`` ``(3, h, w)``, layer after layer."""

    def fit(norm: nn.Module, args: tuple) -> None:
        norm.running_mean.copy_(args[0].mean((0, 2, 3)))
        norm.running_var.copy_(args[0].var((0, 2, 3)) + 1e-3)

    norms = [module for module in model.modules() if isinstance(module, FrozenBatchNorm)]
    handles = [norm.register_forward_pre_hook(fit) for norm in norms]
    model.backbone(model.preprocess([image]).tensor)
    for handle in handles:
        handle.remove()


@torch.no_grad()
def spread_outputs(model: nn.Module, image: Tensor) -> None:
    """Scale the predicting layers' weights to a trained detector's spread, one after the other."""
    for name, module in model.named_modules():
        spread = SPREADS.get(name.rpartition(".")[2])
        if spread is not None:
            seen = [out.std() for out in _outputs(model, module, image)]
            module.weight.mul_(spread / torch.stack(seen).mean())


@torch.no_grad()
def favour_background(model: nn.Module, image: Tensor, threshold: float) -> None:
    """Raise the background's score until few proposals are candidates, as in a trained detector:
    what a sweep takes for suppression grows with them."""
    layer = model.roi_heads.box_predictor.cls_score
    (logits,) = _outputs(model, layer, image)
    for _ in range(100):
        if (logits.softmax(1)[:, :-1] > threshold).sum() <= SHARE * len(logits):
            break
        logits[:, -1] += 0.25
        layer.bias[-1] += 0.25


def _outputs(model: nn.Module, module: nn.Module, image: Tensor) -> list[Tensor]:
    """What ``module`` gives, each time that it is called for one image."""
    seen: list[Tensor] = []
    handle = module.register_forward_hook(lambda _, args, out: seen.append(out.float()))
    model([image])
    handle.remove()
    return seen
