"""Convolution with its norm inside, as detectron2 names it (``conv1.weight``, ``conv1.norm.…``)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv2d


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine parameters never change.

    Goes through ``F.batch_norm`` because torchvision's own frozen norm multiplies a folded
    scale, which rounds differently from detectron2.
    """

    EPS = 1e-5
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels) - self.EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.EPS
        )


def make_norm(name: str, channels: int) -> nn.Module | None:
    """The norm that ``MODEL.….NORM`` names; ``None`` for the empty name."""
    if not name:
        return None
    norms: dict[str, Callable[[int], nn.Module]] = {
        "FrozenBN": FrozenBatchNorm,
        "BN": nn.BatchNorm2d,
        "SyncBN": nn.SyncBatchNorm,
        "GN": lambda channels: nn.GroupNorm(32, channels),
    }
    return norms[name](channels)


class Conv(nn.Conv2d):
    """A convolution followed by its norm; it has a bias only where it has no norm."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, norm: str = "", **options
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=not norm, **options)
        self.norm = make_norm(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.norm is None else self.norm(x)


def init_msra(conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """He et al. 2015, fan out: the backbone's convolutions."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def init_xavier(layer: Layer) -> None:
    """Caffe2's Xavier fill (uniform, fan in): FPN and fully connected layers."""
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def init_normal(layer: Layer, std: float) -> None:
    """Small normal weights and no bias: the layers that predict."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def freeze(module: nn.Module) -> None:
    """Stop training ``module``: its parameters and, inside it, every batch norm."""
    for parameter in module.parameters():
        parameter.requires_grad = False
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            frozen = FrozenBatchNorm(child.num_features)
            frozen.load_state_dict(child.state_dict(), strict=False)  # no num_batches_tracked
            setattr(module, name, frozen)
        else:
            freeze(child)
