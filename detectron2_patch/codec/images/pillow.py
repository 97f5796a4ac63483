"""JPEG, WebP and AVIF, by Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageFile, features

from detectron2_patch.codec.images.picture import EXTRA, LOSSLESS, Picture
from detectron2_patch.errors import InputError


class _ByPillow(Picture):
    """A format that Pillow writes and reads."""

    def options(self) -> dict[str, Any]:
        """Of ``Image.save``."""
        raise NotImplementedError

    def compress(self, pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, self.title, **self.options())
        return buffer.getvalue()

    def decompress(self, stream: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(stream), formats=[self.title]) as image:
            return np.asarray(image.convert("RGB"))


@dataclass(frozen=True)
class Jpeg(_ByPillow):
    """Baseline JPEG with Huffman tables of its own: smaller than progressive on small images."""

    name = "jpeg"
    title, lowest, highest = "JPEG", 1, 100
    chromas = ("420", "444")
    longest = 65500  # libjpeg's; the format itself has 65535

    def compress(self, pixels: np.ndarray) -> bytes:
        # Pillow's buffer has to hold an optimised file whole, and is too small for noise
        ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 4 * pixels.size + 2**16)
        return super().compress(pixels)

    def options(self) -> dict[str, Any]:
        subsampling = ":".join(self.chroma)
        return {"quality": self.quality, "subsampling": subsampling, "optimize": True}

    def encoder(self) -> dict[str, Any]:
        turbo = features.version("libjpeg_turbo")
        library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
        return {
            "encoder": library,
            "effort": "optimised Huffman tables",
            "pillow": PIL.__version__,
        }


@dataclass(frozen=True)
class Webp(_ByPillow):
    """WebP; its lossy mode has 4:2:0 alone."""

    name = "webp"
    title, lowest, highest = "WebP", 0, 100
    chromas = ("420",)
    has_lossless = True
    longest = 16383

    def options(self) -> dict[str, Any]:
        if self.quality == LOSSLESS:  # quality is effort there
            return {"lossless": True, "quality": 100, "method": 6}
        return {"quality": self.quality, "method": 6}

    def check(self) -> None:
        _need(self, "webp")

    def encoder(self) -> dict[str, Any]:
        version = features.version("webp")
        return {"encoder": f"libwebp {version}", "effort": "method 6", "pillow": PIL.__version__}


@dataclass(frozen=True)
class Avif(_ByPillow):
    """AVIF by libaom; a single thread and a single tile, so that equal pixels give equal bytes."""

    name = "avif"
    title, lowest, highest = "AVIF", 0, 100
    chromas = ("420", "444")
    longest = 32768  # what libavif reads

    def options(self) -> dict[str, Any]:
        return {
            "quality": self.quality,
            "subsampling": ":".join(self.chroma),
            "speed": 4,
            "codec": "aom",
            "max_threads": 1,
            "autotiling": False,
        }

    def check(self) -> None:
        _need(self, "avif")

    def encoder(self) -> dict[str, Any]:
        from PIL import _avif

        library = next(
            (part for part in _avif.codec_versions().split(", ") if part.startswith("aom")), "aom"
        )
        return {
            "encoder": library.replace(" [enc]:", " "),
            "effort": "speed 4",
            "libavif": features.version("avif"),
            "pillow": PIL.__version__,
        }


def _need(codec: Picture, feature: str) -> None:
    if feature not in features.get_supported():
        raise InputError(
            f"{codec.word} needs {codec.title}, which this Pillow {PIL.__version__} lacks; {EXTRA}"
        )
