"""Weights by path, address or zoo name, read safely, with detectron2's parameter names."""

from detectron2_patch.weights.checkpoint import read_checkpoint
from detectron2_patch.weights.download import resolve_weights
from detectron2_patch.weights.load import load_weights

__all__ = ["load_weights", "read_checkpoint", "resolve_weights"]
