"""The built-in engine: the detector of ``rcnn``, from torch and torchvision alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.data.images import network_size, read_image, to_network
from detectron2_patch.rcnn.model import FasterRCNN, to_image
from detectron2_patch.weights import load_weights


@dataclass
class NetworkInput:
    """An image as the network sees it, ``(3, h, w)``, and its own ``(height, width)``."""

    tensor: Tensor
    image_size: tuple[int, int]


class TorchvisionEngine:
    """Runs one detector on one device.

    Args:
        cfg: a configuration that ``config.support.check_supported`` accepts.
        device: where the model lives; its maps never leave it.
    """

    name = "torchvision"

    def __init__(self, cfg, device: str) -> None:
        self.input_cfg = cfg.INPUT
        self.model = FasterRCNN(cfg).to(device).eval()

    def load_weights(self, path: Path) -> None:
        """Load a whole checkpoint with detectron2's names."""
        load_weights(self.model, path)

    def read(self, path: Path) -> NetworkInput:
        """Read and resize one image; safe to call from several threads."""
        pixels = read_image(path, self.input_cfg.FORMAT)
        size = network_size(
            pixels.shape[:2], self.input_cfg.MIN_SIZE_TEST, self.input_cfg.MAX_SIZE_TEST
        )
        return NetworkInput(to_network(pixels, size), pixels.shape[:2])

    @torch.inference_mode()
    def detect(self, image: NetworkInput) -> dict[str, np.ndarray]:
        """Boxes ``(n, 4)`` in the image's pixels, scores ``(n,)`` and classes ``(n,)``."""
        (detections,) = self.model([image.tensor])
        detections = to_image(detections, image.tensor.shape[-2:], image.image_size)
        return {
            name: getattr(detections, name).cpu().numpy()
            for name in ("boxes", "scores", "classes")
        }
