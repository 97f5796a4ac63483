"""The seams: codecs of one level, of the whole pyramid, and of the image; and restorers.

A codec is a frozen value (a ``dataclass(frozen=True)``): it is what a level or an image becomes,
and equal codecs are one setting. It says its word, its JSON, and how bytes are made and read. The
three kinds differ in what they code and in how a sweep shares their work:

- ``LevelCodec``: one level alone, so that every setting that has it on that level shares the map;
- ``PyramidCodec``: several levels at once, one treatment that all of them share;
- ``ImageCodec``: the image; what is decoded goes through the backbone, another clean pyramid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.registry import Registry

if TYPE_CHECKING:  # words and JSON need neither
    import numpy as np
    from torch import Tensor

Size = tuple[int, int]

LONGEST = 4096  # characters of a codec's arguments, a path at most


class Codec(ABC):
    """What all three kinds say of themselves.

    Attributes:
        name: in words (``name:arguments``), JSON and bitstreams.
        version: of the bitstream; a later one is refused.
        uses_fit: sender or receiver need the file of fitted parts.
        lossless: the receiver has the very maps (or pixels).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    uses_fit: bool = False
    lossless: bool = False

    @classmethod
    @abstractmethod
    def parse(cls, arguments: str) -> Any:
        """The codec of the arguments behind ``name:`` (empty where there are none).

        Raises:
            InputError: arguments that it doesn't take; says which it does.
        """

    @property
    @abstractmethod
    def word(self) -> str:
        """``name:arguments``, from which ``parse`` makes an equal codec."""

    @property
    def label(self) -> str:
        """As people read it, in tables and figures."""
        return self.word

    @property
    def family(self) -> str:
        """The rate-distortion curve that it is a point of, of codecs that differ in rate alone."""
        return self.name

    def to_json(self) -> dict[str, Any]:
        """All that tells it from another, under JSON's types."""
        return {"codec": self.name, "version": self.version, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Codec:
        """What ``to_json`` wrote."""
        fields = {key: value for key, value in data.items() if key not in ("codec", "version")}
        return cls(**fields)

    def check(self) -> None:  # noqa: B027 (most have nothing to check)
        """Make sure, before any work, that it can run here.

        Raises:
            InputError: a library is missing, or a file hasn't been given; says what to do.
        """

    def check_model(self, model: Any) -> None:  # noqa: B027 (most serve any)
        """Make sure that it was made for this detector (a ``torch.nn.Module``).

        Raises:
            InputError: it was made for another.
        """

    def details(self) -> dict[str, Any]:
        """What a result tells of it beside ``to_json``: encoder, effort, versions, megabytes."""
        return {}


class LevelCodec(Codec):
    """One level to bytes and back, each image by itself."""

    @abstractmethod
    def encode(self, level: str, feature: Tensor, fitted: Any) -> bytes:
        """The bytes of one image's clean map ``(C, H, W)``."""

    @abstractmethod
    def decode(self, level: str, data: bytes, size: Size, fitted: Any, device: Any) -> Tensor:
        """The map ``(C, H, W)`` of ``size`` from ``encode``'s bytes alone.

        Raises:
            InputError: damaged bytes.
        """

    def elements(self, shape: Sequence[int]) -> int:
        """How many elements are sent of a map ``(C, H, W)``."""
        channels, height, width = shape
        return channels * height * width

    def side_bytes(self, level: str, fitted: Any) -> dict[str, int]:
        """Bytes that are sent once for all images, by what they are."""
        return {}


class PyramidCodec(Codec):
    """Several levels to one string of bytes and back, each image by itself."""

    @classmethod
    def parse_for(cls, arguments: str, levels: Sequence[str]) -> PyramidCodec:
        """``parse`` for a detector of ``levels``, which are meant where no levels are named."""
        return cls.parse(arguments)

    def with_words(self, levels: Sequence[str] | None, words: Mapping[str, Any]) -> PyramidCodec:
        """The codec that the other flags of a setting make of this one.

        Args:
            levels: what ``--send`` names; None where it isn't given.
            words: ``ratio``, ``rank`` and ``range``, each level to value, only where they are said.

        Raises:
            InputError: what it can't do, here anything.
        """
        if levels is not None or words:
            raise InputError(
                f"{self.word} says itself what it sends; leave --send, --cr, --rank and --range out"
            )
        return self

    @property
    def levels(self) -> tuple[str, ...]:
        """Those that it carries, P2 first; the others are restored."""
        return LEVELS[:4]

    @abstractmethod
    def encode(self, pyramid: Mapping[str, Tensor], fitted: Any) -> bytes:
        """The bytes of one image's clean maps, ``(C, H, W)`` each, of ``levels`` at least."""

    @abstractmethod
    def decode(
        self, data: bytes, sizes: Mapping[str, Size], fitted: Any, device: Any
    ) -> dict[str, Tensor]:
        """The maps of ``levels``, ``(C, H, W)`` of ``sizes`` each, from ``encode``'s bytes alone.

        Raises:
            InputError: damaged bytes.
        """

    def side_bytes(self, fitted: Any) -> dict[str, int]:
        """Bytes that are sent once for all images, by what they are."""
        return {}


class ImageCodec(Codec):
    """The image to bytes and back, before the backbone."""

    @abstractmethod
    def encode(self, pixels: np.ndarray) -> bytes:
        """The bytes of an image ``(H, W, 3)``, uint8, RGB.

        Raises:
            InputError: a size that the format can't hold, or an encoder that failed.
        """

    @abstractmethod
    def decode(self, data: bytes) -> np.ndarray:
        """The pixels ``(H, W, 3)``, uint8, RGB, from ``encode``'s bytes alone.

        Raises:
            InputError: damaged bytes.
        """


class Restorer(ABC):
    """Makes a level that wasn't sent from those that were.

    Attributes:
        name: in words (``--restore name`` or ``name:W,…``) and JSON.
        uses_fit: it needs the file of fitted parts.
    """

    name: ClassVar[str]
    uses_fit: ClassVar[bool] = False

    def sources(self, level: str, sent: Sequence[str]) -> tuple[str, ...]:
        """The levels that ``level`` is made from, of those that are sent: all of them."""
        return tuple(sent)

    @abstractmethod
    def restore(
        self,
        level: str,
        sources: Mapping[str, Tensor],
        size: Size,
        weights: Sequence[float],
        fitted: Any,
    ) -> Tensor:
        """The map ``(N, C, h, w)`` of ``size`` from received ones, each image by itself.

        Args:
            sources: level to map ``(N, C, h, w)``.
            weights: the numbers behind ``name:`` in words.
            fitted: the fitted parts, where there are some.
        """

    def side_bytes(self, level: str, sources: Sequence[str], fitted: Any) -> int:
        """Bytes that are sent once for all images."""
        return 0


def parse_codec(registry: Registry, word: str) -> Any:
    """The codec of ``name:arguments``.

    Raises:
        InputError: no registered codec has that name, or it doesn't take these arguments.
    """
    name, _, arguments = word.partition(":")
    if len(arguments) > LONGEST:
        raise InputError(f"{word[:80]!r}… is too long for the arguments of a codec; see --help")
    return registry.get(name).parse(arguments)


def codec_from_json(registry: Registry, data: Mapping[str, Any]) -> Any:
    """A codec from what its ``to_json`` wrote.

    Raises:
        InputError: no registered codec has its name, or it is of a later version.
    """
    cls = registry.get(data["codec"])
    if data["version"] > cls.version:
        raise InputError(
            f"{data['codec']} is of version {data['version']}, and this program knows "
            f"{cls.version}; take a later one"
        )
    return cls.from_json(data)
