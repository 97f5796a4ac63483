"""How many elements of the pyramid a setting keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from detectron2_patch.degrade import reduced_size
from detectron2_patch.ratios import LEVELS


@dataclass
class Elements:
    """Elements of each level, in full and at the reduced size, summed over images."""

    full: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))

    def add(self, features: Mapping[str, Tensor], ratios: Mapping[str, float]) -> None:
        """Count one batch's maps ``(N, C, H, W)``, padding included: it is in the maps."""
        for level, ratio in ratios.items():
            n, c, h, w = features[level].shape
            small_h, small_w = reduced_size(h, w, ratio)
            self.full[level] += n * c * h * w
            self.sent[level] += n * c * small_h * small_w

    def merge(self, other: Elements) -> None:
        """Count what ``other`` counted, too."""
        for level in LEVELS:
            self.full[level] += other.full[level]
            self.sent[level] += other.sent[level]


def make_payload(scope: str, elements: Elements) -> dict[str, Any]:
    """A payload as results hold it: elements of each level as sent and in full.

    In scope ``rpn`` nothing is saved on a wire: the box head reads clean maps, so all must be sent.
    """
    return {
        "wire": scope == "pyramid",
        "unit": "elements",
        "sent": dict(elements.sent),
        "full": dict(elements.full),
    }
