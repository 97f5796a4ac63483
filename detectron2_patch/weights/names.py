"""Other files' parameter names, in detectron2's spelling.

Caffe2 joins by underscores: ``res2_0_branch2a_w`` is the first convolution's weight in the first
block of res2, ``res2_0_branch2a_bn_s`` and ``…_bn_b`` are the scale and the shift of its norm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor

_BOTTOM_UP = "backbone.bottom_up."
_RPN = "proposal_generator.rpn_head."
_CLASSES = "roi_heads.box_predictor.cls_score"
_BOXES = "roi_heads.box_predictor.bbox_pred"
_MASK = "roi_heads.mask_head."
_MASKS = _MASK + "predictor"

# Caffe2's layers; the RPN's are named after the level they were first made for.
_LAYERS = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"(?:res_)?conv1", _BOTTOM_UP + "stem.conv1"),
        (r"(res[2-5])_(\d+)_branch1", _BOTTOM_UP + r"\1.\2.shortcut"),
        (r"(res[2-5])_(\d+)_branch2a", _BOTTOM_UP + r"\1.\2.conv1"),
        (r"(res[2-5])_(\d+)_branch2b", _BOTTOM_UP + r"\1.\2.conv2"),
        (r"(res[2-5])_(\d+)_branch2c", _BOTTOM_UP + r"\1.\2.conv3"),
        (r"fpn_inner_res([2-5])_\d+_sum(?:_lateral)?", r"backbone.fpn_lateral\1"),
        (r"fpn_res([2-5])_\d+_sum", r"backbone.fpn_output\1"),
        (r"conv_rpn_fpn2", _RPN + "conv"),
        (r"rpn_cls_logits_fpn2", _RPN + "objectness_logits"),
        (r"rpn_bbox_pred_fpn2", _RPN + "anchor_deltas"),
        (r"fc6", "roi_heads.box_head.fc1"),
        (r"fc7", "roi_heads.box_head.fc2"),
        (r"cls_score", _CLASSES),
        (r"bbox_pred", _BOXES),
        (r"_(?:\[mask\]|mask)_fcn(\d+)", _MASK + r"mask_fcn\1"),
        (r"conv5_mask", _MASK + "deconv"),
        (r"mask_fcn_logits", _MASKS),
    )
]
_PARAMETERS = {
    "w": "weight",
    "b": "bias",
    "bn_s": "norm.weight",
    "bn_gamma": "norm.weight",
    "gn_s": "norm.weight",
    "bn_b": "norm.bias",
    "bn_beta": "norm.bias",
    "gn_b": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_running_mean": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "bn_running_var": "norm.running_var",
}
# what holds a model: DistributedDataParallel, which may be done twice, and Lightning's module
WRAPPINGS = ("module", "model")
_CAFFE2 = re.compile(rf"(.+?)_({'|'.join(_PARAMETERS)})")  # lazy: the longest parameter
_CAFFE2_BLOCK = re.compile(r"res[2-5]_\d+_branch")


def to_detectron2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file under detectron2's names, as far as its names tell which they are."""
    if any(_CAFFE2_BLOCK.match(name) for name in tensors):
        return _from_caffe2(tensors)
    return without_wrappings(tensors)


def without_wrappings(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a model that was compiled, or wrapped for several processes, by its own
    names."""
    tensors = {name.replace("_orig_mod.", ""): one for name, one in tensors.items()}
    while (prefix := next(iter(tensors), "").partition(".")[0]) in WRAPPINGS and all(
        name.startswith(f"{prefix}.") for name in tensors
    ):
        tensors = {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items()}
    return tensors


def match_by_ending(tensors: dict[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """Put a part's tensors where the whole model has that part.

    ``res2.0.conv1.weight`` becomes the one wanted name that ends in ``.res2.0.conv1.weight``. A
    wanted name takes the longest that it ends in; a name that several take stays as it is.
    """
    places: dict[str | None, list[str]] = {}
    for name in wanted:
        words = name.split(".")
        endings = (".".join(words[start:]) for start in range(len(words)))
        ending = next((ending for ending in endings if ending in tensors), None)
        places.setdefault(ending, []).append(name)
    return {
        places[name][0] if len(places.get(name, ())) == 1 else name: tensor
        for name, tensor in tensors.items()
    }


def _from_caffe2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Caffe2's blobs renamed, the background class last; others keep their names."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.endswith("_momentum"):  # the optimizer's
            continue
        name = _rename(name)
        if name.startswith(_CLASSES):
            tensor = torch.cat([tensor[1:], tensor[:1]])
        elif name.startswith(_BOXES):  # no box for the background
            tensor = tensor[4:]
        elif name.startswith(_MASKS):  # and no mask
            tensor = tensor[1:]
        renamed[name] = tensor
    return renamed


def _rename(name: str) -> str:
    if split := _CAFFE2.fullmatch(name):
        layer, parameter = split.groups()
        for pattern, place in _LAYERS:
            if match := pattern.fullmatch(layer):
                return f"{match.expand(place)}.{_PARAMETERS[parameter]}"
    return name
