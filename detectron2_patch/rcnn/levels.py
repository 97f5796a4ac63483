"""Which levels a detector has, whatever its backbone calls them."""

from __future__ import annotations

from typing import Any

from torch import nn

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import ANY, LEVELS, check_levels


def level_names(model: Any) -> dict[str, str]:
    """The levels that the heads of a detector read, finest first, and the names that its backbone
    has for them. A level is called by its stride: P2 is 4, P3 is 8.

    Raises:
        InputError: no backbone or heads, or what they read is no pyramid.
    """
    backbone: Any = getattr(model, "backbone", None)
    dense = hasattr(model, "head_in_features")
    for part in ("backbone",) if dense else ("backbone", "proposal_generator"):
        if not isinstance(getattr(model, part, None), nn.Module):
            raise InputError(
                f"{type(model).__name__} has no {part}; a detector with an RPN and FPN is needed"
            )
    heads = getattr(model, "roi_heads", None)
    parts = ("box_in_features", "mask_in_features", "keypoint_in_features")
    read = [
        getattr(model, "head_in_features", ()),
        getattr(getattr(model, "proposal_generator", None), "in_features", () if dense else LEVELS),
        *(getattr(heads, part, ()) for part in parts),
    ]
    names = list(dict.fromkeys(name for some in read for name in some))
    levels = [str(name).lower() for name in names]
    if not set(levels) <= set(ANY) and hasattr(backbone, "output_shape"):
        shapes = backbone.output_shape()
        levels = [f"p{(shapes[name].stride or 1).bit_length() - 1}" for name in names]
    found = sorted(zip(levels, names))
    check_levels([level for level, _ in found])
    return dict(found)
