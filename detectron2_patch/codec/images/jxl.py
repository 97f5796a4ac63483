"""JPEG XL, by imagecodecs, which has libjxl in its wheels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from detectron2_patch.codec.images.picture import Picture, require

_EFFORT = 7


@dataclass(frozen=True)
class Jxl(Picture):
    """JPEG XL by its Butteraugli distance: 1 is visually lossless, 0 is lossless."""

    name = "jxl"
    title, unit = "JPEG XL", "distance"
    lowest, highest, whole = 0.0, 25.0, False
    longest = 2**18  # libjxl's; the format itself has 2**30

    @property
    def lossless(self) -> bool:  # type: ignore[override]
        return self.quality == 0 and self.scale == 1

    def check(self) -> None:
        _library(self)

    def encoder(self) -> dict[str, Any]:
        library = _library(self)
        return {
            "encoder": library.jpegxl_version(),
            "effort": f"effort {_EFFORT}",
            "imagecodecs": library.__version__,
        }

    def compress(self, pixels: np.ndarray) -> bytes:
        how = {"distance": self.quality} if self.quality else {"lossless": True}
        return bytes(_library(self).jpegxl_encode(pixels, effort=_EFFORT, numthreads=1, **how))

    def decompress(self, stream: bytes) -> np.ndarray:
        pixels = _library(self).jpegxl_decode(stream, numthreads=1)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"it holds {pixels.dtype} {pixels.shape}")
        return pixels


def _library(codec: Picture) -> Any:
    return require("imagecodecs", codec.word)
