"""Our configuration as detectron2's, and what the detectron2 engine refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yacs.config import CfgNode

from detectron2_patch.config.defaults import added, default_values, key_values
from detectron2_patch.config.reading import one_line, shorten

_NEEDS = "a GeneralizedRCNN with an RPN on the levels of an FPN is needed"


def _is_registered(name: Any) -> bool:
    """Whether ``--import`` brought a GeneralizedRCNN of that name; detectron2's own others are not
    measured by boxes alone."""
    from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN

    found = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    return (
        isinstance(found, type)
        and issubclass(found, GeneralizedRCNN)
        and not found.__module__.startswith("detectron2.")
    )


# key -> whether a value will do, and what to say of one that won't.
Refusals = dict[str, tuple[Callable[[Any], bool], str]]
REFUSALS: Refusals = {
    "MODEL.META_ARCHITECTURE": (
        lambda v: v in ("GeneralizedRCNN", RETINANET) or _is_registered(v),
        f"{_NEEDS}, or a RetinaNet (not an RPN alone, or a panoptic or semantic model); "
        "torchvision's own models run with --engine torchvision",
    ),
    "MODEL.LOAD_PROPOSALS": (
        lambda v: not v,
        f"Fast R-CNN reads proposals from a file and has no RPN to patch; {_NEEDS}",
    ),
    "MODEL.PROPOSAL_GENERATOR.NAME": (
        lambda v: v not in ("PrecomputedProposals", "RRPN"),
        f"it has no RPN, or one of rotated boxes, which COCO's AP doesn't measure; {_NEEDS}",
    ),
    "MODEL.RPN.IN_FEATURES": (
        lambda v: len(v) > 1,
        f"a C4 or DC5 model has no pyramid; {_NEEDS}",
    ),
    "TEST.AUG.ENABLED": (
        lambda v: not v,
        "test-time augmentation is not run here; set it to False",
    ),
    "TEST.EXPECTED_RESULTS": (
        lambda v: not v,
        "results are not compared with expectations here; set it to []",
    ),
}
TRAINING_REFUSALS: Refusals = {
    "TEST.EVAL_PERIOD": (
        lambda v: v == 0,
        "the evaluation comes after the training here; set it to 0",
    ),
}


RETINANET = "RetinaNet"
_OF_AN_RCNN = ("MODEL.LOAD_PROPOSALS", "MODEL.PROPOSAL_GENERATOR.NAME", "MODEL.RPN.IN_FEATURES")


def check_supported(cfg: CfgNode, training: bool) -> None:
    """Refuse by name what the patch can't work on, and what would be ignored in silence.

    Raises:
        InputError: the first such key, and what is needed.
    """
    values = dict(key_values(cfg))
    for key, (accepts, reason) in {**REFUSALS, **(TRAINING_REFUSALS if training else {})}.items():
        value = values[key]
        if key in _OF_AN_RCNN and values["MODEL.META_ARCHITECTURE"] == RETINANET:
            continue
        if not accepts(value):
            raise one_line(f"{key} is {shorten(repr(value))}: {reason}")


def to_detectron2(cfg: CfgNode, device: str) -> CfgNode:
    """A configuration of the installed detectron2 with the values of ours.

    Raises:
        InputError: a value was changed of a key that this detectron2 doesn't have.
    """
    from detectron2 import __version__
    from detectron2.config import get_cfg

    theirs = get_cfg()
    for add in added:
        add(theirs)
    for key, value in key_values(cfg):
        *sections, name = key.split(".")
        node = theirs
        for section in sections:
            node = node.get(section, {})
        if name in node:
            node[name] = value
        elif value != default_values()[key]:
            raise one_line(
                f"{key} is {shorten(repr(value))}, and the installed detectron2 "
                f"{__version__} has no such key; leave it out"
            )
    theirs.MODEL.DEVICE = device
    return theirs
