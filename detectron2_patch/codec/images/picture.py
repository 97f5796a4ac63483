"""What all image codecs share: their words, the scale, the checks, the way to a missing library.

A word is ``name:quality``, then ``/chroma``, then ``@scale``: ``avif:50``, ``jpeg:90/444``,
``hevc:32@0.5``, ``webp:lossless``.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from detectron2_patch.codec.varint import read_varint, varint
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import ImageCodec, Size

LOSSLESS = "lossless"
EXTRA = "pip install 'detectron2-patch[codecs]'"
# What Pillow, imagecodecs and PyAV raise when they can't code or read (PyAV's own errors are turned
# into these); anything else is a bug.
FAILURES = (OSError, ValueError, RuntimeError, SyntaxError, Image.DecompressionBombError)
_WORD = re.compile(r"(?P<quality>[^/@]*)(/(?P<chroma>[^/@]*))?(@(?P<scale>[^/@]*))?")


@dataclass(frozen=True)
class Picture(ImageCodec):
    """An image codec of one quality.

    Attributes:
        quality: as the format counts it, or ``lossless`` where it has that.
        chroma: ``420`` (colour at half of the size) or ``444``; empty where the format, or its
            lossless mode, leaves no choice.
        scale: the share of each side that is coded; what is decoded is stretched back.

    A subclass says of its format:
        title: as people write it.
        unit: what its quality is, as a message names it.
        lowest, highest: quality.
        whole: quality is a whole number.
        chromas: those to choose from, the default first.
        has_lossless: ``lossless`` is a quality.
        longest: side in pixels that the format or its encoder holds.
        carries_size: the image's size goes ahead of the stream at any scale, for the encoder
            takes only some sizes, and the image is padded for it.
    """

    quality: float | str
    chroma: str = ""
    scale: float = 1.0

    title: ClassVar[str]
    unit: ClassVar[str] = "quality"
    lowest: ClassVar[float]
    highest: ClassVar[float]
    whole: ClassVar[bool] = True
    chromas: ClassVar[tuple[str, ...]] = ()
    has_lossless: ClassVar[bool] = False
    longest: ClassVar[int]
    carries_size: ClassVar[bool] = False

    def __post_init__(self) -> None:
        quality = self._checked_quality()
        choices = () if quality == LOSSLESS else self.chromas
        chroma = self.chroma or (choices[0] if choices else "")
        if chroma and chroma not in choices:
            raise InputError(
                f"{self.name} {quality} with chroma {chroma!r}; it has "
                f"{' and '.join(choices) or 'no choice of it: leave it out'}"
            )
        if not (isinstance(self.scale, (int, float)) and 0 < self.scale <= 1):
            raise InputError(f"scale {self.scale!r} of {self.name}; give one above 0 and up to 1")
        for key, value in (("quality", quality), ("chroma", chroma), ("scale", float(self.scale))):
            object.__setattr__(self, key, value)

    def _checked_quality(self) -> float | str:
        quality = self.quality
        if quality == LOSSLESS and self.has_lossless:
            return LOSSLESS
        number = quality if isinstance(quality, (int, float)) else math.nan
        if not self.lowest <= number <= self.highest or (self.whole and number != int(number)):
            raise InputError(
                f"{self.unit} {quality!r} of {self.name}; give a {'whole ' * self.whole}number "
                f"from {self.lowest:g} to {self.highest:g}" + f", or {LOSSLESS}" * self.has_lossless
            )
        return int(number) if self.whole else float(number)

    @classmethod
    def parse(cls, arguments: str) -> Picture:
        found = _WORD.fullmatch(arguments)
        if not found or "" in found.groupdict().values():
            raise InputError(
                f"image codec {cls.name} got {repr(arguments) if arguments else 'nothing'}; write "
                f"{cls.name}:{cls.unit}, then "
                f"{'/444 or ' * (len(cls.chromas) > 1)}@scale where wanted, such as "
                f"{cls.name}:{cls.highest:g}@0.5"
            )
        quality, scale = found["quality"], found["scale"]
        return cls(
            quality if quality == LOSSLESS else _number(quality),
            found["chroma"] or "",
            1.0 if scale is None else _number(scale),  # type: ignore[arg-type]  # checked there
        )

    @property
    def word(self) -> str:
        chroma = f"/{self.chroma}" if self.chroma not in ("", *self.chromas[:1]) else ""
        scale = f"@{_short(self.scale)}" if self.scale != 1 else ""
        return f"{self.name}:{_short(self.quality)}{chroma}{scale}"

    @property
    def label(self) -> str:
        """``AVIF 50``, ``JPEG 90 4:4:4 at 0.5``."""
        chroma = f" {':'.join(self.chroma)}" if self.chroma not in ("", *self.chromas[:1]) else ""
        scale = f" at {_short(self.scale)}" if self.scale != 1 else ""
        return f"{self.title} {_short(self.quality)}{chroma}{scale}"

    @property
    def family(self) -> str:
        """The curve that it is a point of: all but its quality, such as ``avif@0.5``."""
        chroma = f"/{self.chroma}" if self.chroma not in ("", *self.chromas[:1]) else ""
        return f"{self.name}{chroma}" + (f"@{_short(self.scale)}" if self.scale != 1 else "")

    @property
    def lossless(self) -> bool:  # type: ignore[override]
        return self.quality == LOSSLESS and self.scale == 1

    def details(self) -> dict[str, Any]:
        scaling = {"scaling": "Pillow's bicubic"} if self.scale != 1 else {}
        return {**self.encoder(), **scaling}

    @abstractmethod
    def encoder(self) -> dict[str, Any]:
        """Encoder, effort and versions of the libraries, for results."""

    @abstractmethod
    def compress(self, pixels: np.ndarray) -> bytes:
        """The stream of an image as it is, one that other programs read; may raise ``FAILURES``."""

    @abstractmethod
    def decompress(self, stream: bytes) -> np.ndarray:
        """The pixels of a stream, padding included; may raise ``FAILURES``."""

    def encode(self, pixels: np.ndarray) -> bytes:
        size = pixels.shape[:2]
        coded = scaled_size(size, self.scale)
        if max(coded) > self.longest:
            raise InputError(
                f"{self.word} holds {self.longest} pixels a side, and the image is "
                f"{coded[1]}x{coded[0]}; choose a smaller scale or another codec"
            )
        try:
            stream = self.compress(resize(pixels, coded))
        except FAILURES as error:
            raise InputError(
                f"{self.word} failed on an image of {coded[1]}x{coded[0]}: {_one_line(error)}; "
                "choose another codec or quality"
            ) from error
        return self._size_ahead(size) + stream

    def decode(self, data: bytes) -> np.ndarray:
        try:
            size, at = self._read_size(data)
            pixels = self.decompress(data[at:])
        except FAILURES as error:
            raise InputError(
                f"the bytes of {self.word} are damaged: {_one_line(error)}; ask for them again"
            ) from error
        if size is None:
            return pixels
        height, width = coded = scaled_size(size, self.scale)
        if pixels.shape[0] < height or pixels.shape[1] < width:
            raise InputError(
                f"the bytes of {self.word} hold {pixels.shape[1]}x{pixels.shape[0]} pixels where "
                f"{coded[1]}x{coded[0]} were coded; ask for them again"
            )
        return resize(pixels[:height, :width], size)

    def stream(self, data: bytes) -> bytes:
        """The part of ``encode``'s bytes that other programs read: all but the size ahead."""
        return data[self._read_size(data)[1] :]

    def _size_ahead(self, size: Size) -> bytes:
        """The image's size, where the stream's own is another one or may be."""
        if self.scale == 1 and not self.carries_size:
            return b""
        return varint(size[0]) + varint(size[1])

    def _read_size(self, data: bytes) -> tuple[Size | None, int]:
        """The image's size, where it is sent, and where the stream starts."""
        if self.scale == 1 and not self.carries_size:
            return None, 0
        height, at = read_varint(data, 0)
        width, at = read_varint(data, at)
        if not height or not width:
            raise ValueError("a side of no pixels")
        return (height, width), at


def scaled_size(size: Size, scale: float) -> Size:
    """Height and width times ``scale``, rounded, at least 1."""
    height, width = (max(1, int(side * scale + 0.5)) for side in size)
    return height, width


def resize(pixels: np.ndarray, size: Size) -> np.ndarray:
    """``(H, W, 3)`` uint8 to ``size``, bicubic, antialiased where it shrinks."""
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))


def pad(pixels: np.ndarray, multiple: int, shortest: int) -> np.ndarray:
    """Repeat the last row and column until each side is a multiple, and long enough."""
    sides = (max(shortest, -(-side // multiple) * multiple) for side in pixels.shape[:2])
    more = [(0, side - have) for side, have in zip(sides, pixels.shape)]
    return np.pad(pixels, [*more, (0, 0)], mode="edge")


def require(module: str, codec: str) -> Any:
    """A module of the extra ``codecs``.

    Raises:
        InputError: it isn't there, or doesn't load; says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{codec} needs {module} ({_one_line(error)}); {EXTRA}") from error


def _number(text: str) -> float | str:
    """A number as written; the text itself, which every check refuses, for anything else."""
    if text.isascii() and text.isdigit():
        return int(text)
    return float(text) if re.fullmatch(r"[0-9]*\.[0-9]+|[0-9]+\.", text) else text


def _short(number: float | str) -> str:
    """``50``, ``0.5``: the shortest text that reads as the same number."""
    if isinstance(number, str):
        return number
    return str(int(number)) if number == int(number) else repr(number)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
