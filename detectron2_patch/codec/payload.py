"""What a setting sends: elements, bits and bytes, beside what the whole pyramid and the images
weigh."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from detectron2_patch.codec.bitstream import header_bytes
from detectron2_patch.codec.transmission import (
    IMAGE,
    WHOLE,
    Key,
    sent_elements,
    side_bytes,
    whole_codec,
)
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.settings.codecs import Codec, ImageCodec, PyramidCodec
from detectron2_patch.settings.cost import with_cost
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.setting import Setting
from detectron2_patch.settings.treatments import FLOAT_BITS, Sent, Treatment, is_sent


def _zeros(levels: Sequence[str] = LEVELS) -> dict[str, int]:
    return dict.fromkeys(levels, 0)


@dataclass
class Traffic:
    """What was sent, summed over images: of each level ``full`` and ``sent`` in elements, ``bits``
    before the lossless coder, and ``nbytes``, also of ``pyramid`` or ``image`` where one codec
    sends all."""

    images: int = 0
    full: dict[str, int] = field(default_factory=_zeros)
    sent: dict[str, int] = field(default_factory=_zeros)
    bits: dict[str, int] = field(default_factory=_zeros)
    nbytes: dict[str, int] = field(default_factory=_zeros)

    @classmethod
    def of(cls, levels: Sequence[str], images: int = 0, full: Mapping[str, int] = {}) -> Traffic:
        """Nothing sent yet of these levels."""
        return cls(images, _zeros(levels) | dict(full), *(_zeros(levels) for _ in range(3)))

    def add(
        self,
        features: Mapping[str, Tensor],
        treatments: Mapping[str, Treatment],
        nbytes: Mapping[str, int],
    ) -> None:
        """Count one batch's maps ``(N, C, H, W)``, padding included: it is in the maps."""
        self.images += len(next(iter(features.values())))
        for level, one in treatments.items():
            shape = features[level].shape
            elements = sent_elements(shape, one)
            self.full[level] += shape.numel()
            self.sent[level] += elements
            self.bits[level] += elements * sent_bits(one)
        self.add_bytes(nbytes)

    def add_bytes(self, nbytes: Mapping[str, int]) -> None:
        """Count bytes by what they are of."""
        for part, count in nbytes.items():
            self.nbytes[part] = self.nbytes.get(part, 0) + count

    def merge(self, other: Traffic) -> None:
        """Count what ``other`` counted, too."""
        self.images += other.images
        for mine, theirs in (
            (self.full, other.full),
            (self.sent, other.sent),
            (self.bits, other.bits),
        ):
            for level in theirs:
                mine[level] += theirs[level]
        self.add_bytes(other.nbytes)


def bytes_by_part(treatments: Mapping[str, Treatment], nbytes: Mapping[Key, int]) -> dict[str, int]:
    """What ``Channel.nbytes`` says of a setting's treatments: level, or ``pyramid`` or ``image``
    where one codec sends all, to bytes."""
    found: dict[str, int] = {}
    for level, one in treatments.items():
        if not isinstance(one, Codec) or (level, one) in nbytes:
            found[_part(level, one)] = nbytes.get((level, one), 0)
    return found


def _part(level: str, one: Treatment) -> str:
    if isinstance(one, ImageCodec):
        return IMAGE
    return WHOLE if isinstance(one, PyramidCodec) else level


def sent_bits(treatment: Treatment) -> int:
    """Bits of an element before the lossless coder, where there are elements."""
    if isinstance(treatment, Sent):
        return treatment.bits or FLOAT_BITS
    return FLOAT_BITS if is_sent(treatment) else 0


def weigh_images(dataset: CocoDataset) -> dict[str, int]:
    """What the images themselves weigh: their pixels, as raw 8-bit RGB, and as they are stored."""
    pixels = sum(image["height"] * image["width"] for image in dataset.images)
    stored = sum(os.path.getsize(dataset.image_path(image)) for image in dataset.images)
    return {"pixels": pixels, "raw_bytes": 3 * pixels, "stored_bytes": stored}


def make_payload(
    setting: Setting, traffic: Traffic, images: Mapping[str, int], fitted: Any
) -> dict[str, Any]:
    """A payload as results hold it, over all images.

    In scope ``rpn`` nothing is saved on a wire: the box head reads clean maps, so all must be
    sent. Elements of what the RPN reads are told, and no bytes.

    Args:
        images: see ``weigh_images``.
        fitted: the fitted parts, where some are used.
    """
    payload: dict[str, Any] = {
        "wire": setting.scope == "pyramid",
        "unit": "elements",
        "sent": dict(traffic.sent),
        "full": dict(traffic.full),
    }
    if setting.scope != "pyramid":
        return payload
    treatments = setting.by_level()
    together = setting.image is not None or whole_codec(treatments) is not None
    return with_cost(
        {
            **payload,
            "bits": dict(traffic.bits),
            "bytes": {part: n for part, n in traffic.nbytes.items() if n or part in traffic.full},
            "header_bytes": 0 if together else header_bytes(setting.levels) * traffic.images,
            "side_bytes": side_bytes(treatments, fitted),
            "image": dict(images),
        }
    )
