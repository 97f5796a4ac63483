"""The demo's own detector, for tests."""

import torch

from detectron2_patch.config import load_cfg
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.choice import build_engine


def build(name):
    """The demo's own detector in an engine, on half its image size for speed."""
    torch.set_num_threads(1)
    cfg = load_cfg("configs/demo.yaml", ["INPUT.MIN_SIZE_TEST", "256"])
    engine = build_engine(name, cfg, "cpu")
    engine.load_weights(WEIGHTS)
    return engine
