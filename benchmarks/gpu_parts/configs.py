"""The configurations that are measured, read without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detectron2_patch.config import load_cfg

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
R50 = "faster_rcnn_R_50_FPN_3x"
X101 = "faster_rcnn_X_101_32x8d_FPN_3x"


def demo_cfg(opts: Sequence[str] = ()):
    """The demo's."""
    return load_cfg(CONFIGS / "demo.yaml", opts)


def zoo_cfg(name: str, opts: Sequence[str]):
    """One of the zoo's, that needs no file of weights."""
    return load_cfg(CONFIGS / "COCO-Detection" / f"{name}.yaml", [*opts, "MODEL.WEIGHTS", ""])
