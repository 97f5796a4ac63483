"""What a setting sends: elements, bits and bytes, beside what the whole pyramid and the images
weigh."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor

from detectron2_patch.codec.bitstream import HEADER_BYTES
from detectron2_patch.codec.transmission import sent_shape
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.treatments import FLOAT_BITS, Sent, Treatment

# What a payload is compared with: levels and bytes an element of the maps in full.
REFERENCES = {
    f"{levels[0]}-{levels[-1]} {name}": (levels, size)
    for name, size in (("fp32", 4), ("fp16", 2))
    for levels in (LEVELS, LEVELS[:4])
}


def _zeros() -> dict[str, int]:
    return dict.fromkeys(LEVELS, 0)


@dataclass
class Traffic:
    """What was sent of each level, summed over images: ``full`` and ``sent`` in elements."""

    images: int = 0
    full: dict[str, int] = field(default_factory=_zeros)
    sent: dict[str, int] = field(default_factory=_zeros)
    bits: dict[str, int] = field(default_factory=_zeros)
    nbytes: dict[str, int] = field(default_factory=_zeros)

    def add(
        self,
        features: Mapping[str, Tensor],
        treatments: Mapping[str, Treatment],
        nbytes: Mapping[str, int],
    ) -> None:
        """Count one batch's maps ``(N, C, H, W)``, padding included: it is in the maps."""
        self.images += len(features[LEVELS[0]])
        for level, one in treatments.items():
            shape = features[level].shape
            elements = sent_elements(shape, one)
            self.full[level] += shape.numel()
            self.sent[level] += elements
            self.bits[level] += elements * sent_bits(one)
            self.nbytes[level] += nbytes.get(level, 0)

    def merge(self, other: Traffic) -> None:
        """Count what ``other`` counted, too."""
        self.images += other.images
        for mine, theirs in (
            (self.full, other.full),
            (self.sent, other.sent),
            (self.bits, other.bits),
            (self.nbytes, other.nbytes),
        ):
            for level in LEVELS:
                mine[level] += theirs[level]


def sent_elements(shape, treatment: Treatment) -> int:
    """Elements that are sent of maps ``(N, C, H, W)``."""
    return shape[0] * prod(sent_shape(shape, treatment)) if isinstance(treatment, Sent) else 0


def sent_bits(treatment: Treatment) -> int:
    """Bits of an element before the lossless coder."""
    return (treatment.bits or FLOAT_BITS) if isinstance(treatment, Sent) else 0


def weigh_images(dataset: CocoDataset) -> dict[str, int]:
    """What the images themselves weigh: their pixels, as raw 8-bit RGB, and as they are stored."""
    pixels = sum(image["height"] * image["width"] for image in dataset.images)
    stored = sum(os.path.getsize(dataset.image_path(image)) for image in dataset.images)
    return {"pixels": pixels, "raw_bytes": 3 * pixels, "stored_bytes": stored}


def make_payload(
    scope: str, traffic: Traffic, images: Mapping[str, int], side: Mapping[str, int]
) -> dict[str, Any]:
    """A payload as results hold it, over all images.

    In scope ``rpn`` nothing is saved on a wire: the box head reads clean maps, so all must be
    sent. Elements of what the RPN reads are told, and no bytes.

    Args:
        images: see ``weigh_images``.
        side: see ``transmission.side_bytes``.
    """
    payload = {
        "wire": scope == "pyramid",
        "unit": "elements",
        "sent": dict(traffic.sent),
        "full": dict(traffic.full),
    }
    if scope != "pyramid":
        return payload
    header = HEADER_BYTES * traffic.images
    total = header + sum(traffic.nbytes.values())
    return {
        **payload,
        "bits": dict(traffic.bits),
        "bytes": dict(traffic.nbytes),
        "header_bytes": header,
        "total_bytes": total,
        "side_bytes": dict(side),
        "bits_per_pixel": 8 * total / images["pixels"],
        "smaller": {
            name: size * sum(traffic.full[level] for level in levels) / total
            for name, (levels, size) in REFERENCES.items()
        },
        "image": dict(images),
    }
