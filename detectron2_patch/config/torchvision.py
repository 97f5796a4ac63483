"""Which configuration torchvision's own models honour: hardly a key, since they have their own."""

from __future__ import annotations

from yacs.config import CfgNode

from detectron2_patch.config.defaults import default_values, key_values
from detectron2_patch.config.reading import one_line, shorten
from detectron2_patch.config.support import TOOLS, TRAINING, matches
from detectron2_patch.config.values import POSITIVE, expectation
from detectron2_patch.errors import InputError

_SIZES = ("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST")
HONOURED = (*TOOLS, *_SIZES, "MODEL.META_ARCHITECTURE", "MODEL.ROI_HEADS.NUM_CLASSES", "VERSION")


def check_supported(cfg: CfgNode, training: bool) -> None:
    """Make sure that no key was set that wouldn't be honoured.

    Raises:
        InputError: the first such key, or a training.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if training:
        raise InputError(f"{name} is torchvision's own model, which is not trained here")
    for key, value in key_values(cfg):
        if key in HONOURED:
            wanted = expectation(key, value)
            if key in _SIZES and not POSITIVE[0](value):
                wanted = POSITIVE[1]
            if wanted is not None:
                raise one_line(f"{key} is {shorten(repr(value))}; give {wanted}")
        elif not matches(key, TRAINING) and value != default_values()[key]:
            raise one_line(
                f"{key} is {shorten(repr(value))}, and {name} is torchvision's own model, which "
                f"has its own; leave it out: it takes {', '.join(HONOURED[-5:-1])}"
            )
