"""Backbone names of Caffe2's ImageNet files, in detectron2's spelling.

``res2_0_branch2a_w`` is the first convolution's weight in the first block of res2;
``…_bn_s`` and ``…_bn_b`` are the scale and the shift of its norm.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

PREFIX = "backbone.bottom_up."
_BRANCHES = {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
_SUFFIXES = {
    "w": "weight",
    "bn_s": "norm.weight",
    "bn_gamma": "norm.weight",
    "bn_b": "norm.bias",
    "bn_beta": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_running_mean": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "bn_running_var": "norm.running_var",
    "gn_s": "norm.weight",
    "gn_b": "norm.bias",
}
_BLOCK = re.compile(r"(res[2-5])_(\d+)_(branch1|branch2[abc])_(\w+)$")
_STEM = re.compile(r"(?:res_)?conv1_(\w+)$")


def is_caffe2(tensors: dict[str, Tensor]) -> bool:
    """Whether the names are Caffe2's: blocks joined by underscores, none by dots."""
    return any(_BLOCK.match(name) for name in tensors)


def from_caffe2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone under detectron2's names; what belongs to no backbone is left out.

    The MSRA files folded their norms' statistics into scale and shift: the norm then has mean 0
    and variance 1.
    """
    renamed = {}
    for name, tensor in tensors.items():
        new = _rename(name)
        if new is not None:
            renamed[PREFIX + new] = tensor.flatten() if ".norm." in new else tensor
    for name in [n for n in renamed if n.endswith(".norm.weight")]:
        scale = renamed[name]
        base = name.removesuffix("weight")
        renamed.setdefault(base + "running_mean", torch.zeros_like(scale))
        renamed.setdefault(base + "running_var", torch.ones_like(scale))
    return renamed


def _rename(name: str) -> str | None:
    if block := _BLOCK.match(name):
        stage, number, branch, suffix = block.groups()
        place = f"{stage}.{number}.{_BRANCHES[branch]}"
    elif stem := _STEM.match(name):
        (suffix,) = stem.groups()
        place = "stem.conv1"
    else:
        return None
    return f"{place}.{_SUFFIXES[suffix]}" if suffix in _SUFFIXES else None
