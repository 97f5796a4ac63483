"""The receiver: bitstreams to detections, by the decoder and the heads alone. It opens no image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from detectron2_patch.codec.bitstream import unpack
from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.payload import Traffic
from detectron2_patch.codec.transmission import IMAGE, WHOLE, receive_pyramid, whole_codec
from detectron2_patch.engines.base import Engine, NetworkInput
from detectron2_patch.errors import InputError
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.settings.codecs import ImageCodec, Size
from detectron2_patch.settings.setting import Setting
from detectron2_patch.wire.aside import made_ahead
from detectron2_patch.wire.manifest import Entry


class MapReceiver:
    """Receives maps.

    Args:
        engine: of the ``heads``.
        setting: what was sent.
        fitted: what it needs.

    Attributes:
        traffic: what was received so far.
    """

    def __init__(self, engine: Engine, setting: Setting, fitted: Fitted | None) -> None:
        self.engine, self.fitted = engine, fitted
        self.treatments, self.levels = setting.by_level(), setting.levels
        self.whole = whole_codec(self.treatments)
        self.traffic = Traffic.of(setting.levels)
        self._padded: dict[Size, Size] = {}

    @torch.inference_mode()
    def decode(self, entry: Entry, data: bytes) -> dict[str, Tensor]:
        """What the decoder does: the maps ``(C, H, W)`` of a bitstream."""
        if entry.network_size is None:
            raise InputError("it says no network size, and maps were sent; ask for it again")
        return receive_pyramid(
            data,
            self.treatments,
            self.fitted,
            self.engine.model.device,
            self._padded_size(entry.network_size),
            self.levels,
        )

    @torch.inference_mode()
    def detect(self, entry: Entry, data: bytes, maps: Mapping[str, Tensor]) -> dict[str, Any]:
        """What the heads do: the detections, as ``Engine.detect`` gives them."""
        assert entry.network_size is not None
        found = self.engine.detect_received(maps, entry.network_size, entry.image_size)
        self.traffic.add(
            {level: one[None] for level, one in maps.items()}, self.treatments, self._nbytes(data)
        )
        return found

    def _padded_size(self, size: Size) -> Size:
        """That of the padded input, as the engine pads it."""
        if size not in self._padded:
            blank = torch.zeros(1, 1, 1).expand(3, *size)
            padded = self.engine.batch([NetworkInput(blank, size)]).tensor.shape
            self._padded[size] = (padded[-2], padded[-1])
        return self._padded[size]

    def _nbytes(self, data: bytes) -> dict[str, int]:
        if self.whole is not None:
            return {WHOLE: len(data)}
        return {level: len(stream) for level, stream in unpack(data).streams.items()}


class ImageReceiver:
    """Receives images, for the whole detector.

    Attributes:
        traffic: what was received so far.
    """

    def __init__(self, engine: Engine, codec: ImageCodec) -> None:
        self.engine, self.codec, self.traffic = engine, codec, Traffic.of(engine.levels)

    def decode(self, entry: Entry, data: bytes) -> NetworkInput:
        """The image as the network sees it."""
        pixels = self.codec.decode(data)
        if pixels.shape[:2] != entry.image_size:
            raise InputError(
                f"it holds an image of {pixels.shape[:2]}, and {entry.image_size} was sent; ask "
                "for it again"
            )
        return self.engine.from_pixels(pixels)

    def detect(self, entry: Entry, data: bytes, image: NetworkInput) -> dict[str, Any]:
        """The detections, as ``Engine.detect`` gives them."""
        with patch_pyramid(self.engine, Setting.of({}, levels=self.engine.levels)) as patch:
            found = self.engine.detect(image)
        clean = patch.traffic  # of the maps that the receiver makes, sizes alone are told
        self.traffic.merge(Traffic.of(self.engine.levels, clean.images, clean.full))
        self.traffic.add_bytes({IMAGE: len(data)})
        return found


def receive_all(
    receiver: MapReceiver | ImageReceiver, messages: Iterable[tuple[Entry, bytes]]
) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """The detections of each image, as soon as they are there; the decoder works in a thread,
    ahead of the detector.

    Raises:
        InputError: a bitstream that can't be decoded; names its image.
    """

    def decode(message: tuple[Entry, bytes]):
        entry, data = message
        with _named(entry):
            return entry, data, receiver.decode(entry, data)

    for entry, data, decoded in made_ahead(decode, messages):
        with _named(entry):
            found = receiver.detect(entry, data, decoded)
        yield entry, found


@contextmanager
def _named(entry: Entry) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"the bitstream of {entry.file_name}: {error}") from error
