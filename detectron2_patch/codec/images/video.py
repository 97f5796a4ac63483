"""Video codecs as image codecs, one intra picture a stream, by PyAV, whose wheels have FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from detectron2_patch.codec.images import ycbcr
from detectron2_patch.codec.images.picture import EXTRA, LOSSLESS, Picture, pad, require
from detectron2_patch.errors import InputError
from detectron2_patch.utils.machine import scheduling_kept

# One picture, no threads (they change the bytes), no text about the encoder in the stream, and the
# QP as it is given: without ipratio, x265 codes an intra picture three steps finer.
X265 = "keyint=1:ipratio=1:info=0:log-level=none:pools=none:frame-threads=1:wpp=0"
# What a decoder is told: sRGB in BT.601's YCbCr of full range, colour sited between the pixels.
_COLOUR = "colorprim=bt709:transfer=iec61966-2-1:colormatrix={matrix}:range=full:chromaloc=1"


class _ByVideo(Picture):
    """A video codec of FFmpeg's. It pads the image, so the image's own size goes ahead."""

    longest = 16384
    carries_size = True
    encoder_name: ClassVar[str]
    decoder_name: ClassVar[str]
    shortest: ClassVar[int]  # side that the encoder takes

    def options(self) -> dict[str, str]:
        """Of the encoder."""
        raise NotImplementedError

    def check(self) -> None:
        need_encoder(self.encoder_name, self.word)

    def compress(self, pixels: np.ndarray) -> bytes:
        pixels = pad(pixels, 2 if self.chroma == "420" else 1, self.shortest)
        if self.quality == LOSSLESS:
            planes, pixel_format = [pixels[:, :, at] for at in (1, 2, 0)], "gbrp"
        else:
            planes, pixel_format = ycbcr.from_rgb(pixels, self.chroma), f"yuv{self.chroma}p"
        return encode_picture(self.encoder_name, planes, pixel_format, self.options())

    def decompress(self, stream: bytes) -> np.ndarray:
        planes = decode_picture(self.decoder_name, stream)
        if self.quality == LOSSLESS:
            return np.stack([planes[at] for at in (2, 0, 1)], axis=2)
        return ycbcr.to_rgb(planes)


@dataclass(frozen=True)
class Hevc(_ByVideo):
    """HEVC intra by x265 at a constant quantisation parameter; lossless is coded as RGB."""

    name = "hevc"
    title, unit, lowest, highest = "HEVC", "QP", 0, 51
    chromas = ("420", "444")
    has_lossless = True
    encoder_name, decoder_name, shortest = "libx265", "hevc", 16

    def options(self) -> dict[str, str]:
        lossless = self.quality == LOSSLESS
        rate = "lossless=1" if lossless else f"qp={self.quality}"
        colour = _COLOUR.format(matrix="gbr" if lossless else "smpte170m")
        return {"preset": "veryslow", "x265-params": f"{rate}:{X265}:{colour}"}

    def encoder(self) -> dict[str, Any]:
        return {"encoder": "x265", "effort": "veryslow, intra, constant QP", **versions(self.word)}


@dataclass(frozen=True)
class Av1(_ByVideo):
    """AV1 intra by SVT-AV1 at a constant rate factor; it has 4:2:0 alone."""

    name = "av1"
    title, unit, lowest, highest = "AV1", "CRF", 1, 63
    chromas = ("420",)
    encoder_name, decoder_name, shortest = "libsvtav1", "libdav1d", 4

    def options(self) -> dict[str, str]:
        os.environ.setdefault("SVT_LOG", "-1")  # it prints past Python and FFmpeg
        return {"preset": "4", "crf": str(self.quality), "svtav1-params": "lp=1"}

    def encoder(self) -> dict[str, Any]:
        effort = "preset 4, intra, constant rate factor"
        return {"encoder": "SVT-AV1", "effort": effort, **versions(self.word)}


def need_encoder(encoder: str, codec: str) -> None:
    """Make sure that PyAV is there and its FFmpeg has an encoder.

    Raises:
        InputError: one is missing; says how to install it.
    """
    av = require("av", codec)
    if encoder not in av.codecs_available:
        raise InputError(f"{codec} needs {encoder}, which PyAV {av.__version__} lacks; {EXTRA}")


def versions(codec: str) -> dict[str, str]:
    """Of PyAV and of FFmpeg's libavcodec."""
    av = require("av", codec)
    library = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"libavcodec": library, "av": av.__version__}


def encode_picture(
    encoder: str, planes: Sequence[np.ndarray], pixel_format: str, options: dict[str, str]
) -> bytes:
    """The stream of one picture: what FFmpeg's ``encoder`` makes of its planes, no container.

    Args:
        planes: as ``pixel_format`` has them; more than 8 bits as little-endian uint16.

    Raises:
        OSError: the encoder failed.
    """
    av = require("av", encoder)
    height, width = planes[0].shape
    try:
        context = av.CodecContext.create(encoder, "w")
        context.width, context.height, context.pix_fmt = width, height, pixel_format
        context.framerate, context.time_base = 1, Fraction(1)
        context.thread_count = 1
        if pixel_format != "gbrp" and not pixel_format.startswith("gray"):
            context.color_range, context.colorspace = 2, 6  # full, BT.601
            context.color_primaries, context.color_trc = 1, 13  # BT.709, sRGB
        context.options = options
        frame = av.VideoFrame(width, height, pixel_format)
        for target, plane in zip(frame.planes, planes, strict=True):
            _fill(target, plane)
        with scheduling_kept():
            packets = [*context.encode(frame), *context.encode(None)]
    except av.error.FFmpegError as error:
        raise OSError(f"{encoder}: {error.strerror}") from error
    return b"".join(bytes(packet) for packet in packets)


def decode_picture(decoder: str, stream: bytes) -> list[np.ndarray]:
    """The planes of the one picture of a stream, uint8 or, of more than 8 bits, uint16.

    Raises:
        OSError: it can't be decoded.
    """
    av = require("av", decoder)
    try:
        context = av.CodecContext.create(decoder, "r")
        context.thread_count = 1
        context.options = {"err_detect": "explode"}
        frames = [*context.decode(av.Packet(stream)), *context.decode(None)]
    except av.error.FFmpegError as error:
        raise OSError(f"{decoder}: {error.strerror}") from error
    if len(frames) != 1:
        raise OSError(f"a stream of {len(frames)} pictures, not of one")
    if frames[0].is_corrupt:
        raise OSError("a picture with parts missing")
    bits = frames[0].format.components[0].bits
    return [_read(plane, np.dtype("<u2" if bits > 8 else "u1")) for plane in frames[0].planes]


def _fill(target: Any, plane: np.ndarray) -> None:
    """Copy a plane into FFmpeg's, whose lines are longer."""
    rows = np.ascontiguousarray(plane).view(np.uint8).reshape(len(plane), -1)
    padded = np.zeros((len(plane), target.line_size), np.uint8)
    padded[:, : rows.shape[1]] = rows
    target.update(padded)


def _read(plane: Any, dtype: np.dtype) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return np.ascontiguousarray(rows[:, : plane.width * dtype.itemsize]).view(dtype)
