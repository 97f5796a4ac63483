"""The sender: images to bitstreams, by the backbone and the encoder alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch

from detectron2_patch.codec.fitted import Fitted, check_fitted
from detectron2_patch.codec.transmission import send_pyramid
from detectron2_patch.data.images import about, load_ahead, read_image
from detectron2_patch.engines.base import Engine, NetworkInput
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import ImageCodec
from detectron2_patch.settings.setting import Setting
from detectron2_patch.wire.aside import Aside
from detectron2_patch.wire.manifest import Entry, content_digest
from detectron2_patch.wire.sources import Source


class Writer(Protocol):
    """Where bitstreams go: a folder or a stream."""

    def write(self, entry: Entry, data: bytes) -> None:
        """Add an image's bitstream."""


class MapSender:
    """Sends the maps of images.

    Args:
        engine: of the ``backbone``.
        setting: what is sent; scope ``pyramid``.
        fitted: what it needs.

    Raises:
        InputError: what it needs was fitted to another detector.
    """

    def __init__(self, engine: Engine, setting: Setting, fitted: Fitted | None) -> None:
        check_fitted(setting, fitted, engine.model)
        self.engine, self.fitted = engine, fitted
        self.treatments, self.levels = setting.by_level(), setting.levels

    def read_all(self, sources: Sequence[Source], workers: int) -> Iterator[NetworkInput]:
        """The images, ahead by ``workers`` threads or processes."""
        return self.engine.read_all([source.path for source in sources], workers)

    def read(self, source: Source) -> NetworkInput:
        """One image."""
        return self.engine.read(source.path)

    def look(self, image: NetworkInput) -> Any:
        """What the detector does: the clean maps, and the size of the padded input."""
        return self.engine.maps(image)

    @torch.inference_mode()
    def code(self, image: NetworkInput, seen: Any) -> tuple[bytes, dict[str, Any]]:
        """What the coder does: the bitstream, and the sizes of its entry."""
        maps, padded = seen
        single = {level: one.float() for level, one in maps.items()}
        data = send_pyramid(single, self.treatments, padded, self.fitted, self.levels)
        size = (image.tensor.shape[-2], image.tensor.shape[-1])
        return data, {"image_size": image.image_size, "network_size": size}


class ImageSender:
    """Sends the images themselves, coded; needs no detector."""

    def __init__(self, codec: ImageCodec) -> None:
        self.codec = codec

    def read_all(self, sources: Sequence[Source], workers: int) -> Iterator[Any]:
        """The pixels ``(H, W, 3)`` of the images, ahead by ``workers`` threads."""
        return load_ahead(self.read, sources, workers)

    def read(self, source: Source) -> Any:
        """The pixels of one image."""
        return read_image(source.path, "RGB")

    def look(self, image: Any) -> None:
        """Nothing."""

    def code(self, image: Any, seen: None) -> tuple[bytes, dict[str, Any]]:
        """The bitstream, and the sizes of its entry."""
        return self.codec.encode(image), {"image_size": image.shape[:2], "network_size": None}


def send_all(
    sender: MapSender | ImageSender,
    sources: Iterable[Source],
    writer: Writer,
    workers: int = 0,
) -> Iterator[Source]:
    """Send each image; gives each source once the detector has seen it.

    The coder works and writes in a thread, beside the detector with the next image.

    Args:
        sources: where it is a list, images are read ahead; of anything else one is asked for when
            the one before has been seen.
        workers: see ``read_all``.

    Raises:
        InputError: an image can't be read, coded or written; those before it are sent.
    """
    with Aside() as coder:
        for source, image in _read(sender, sources, workers):
            with about(source.path):
                seen = sender.look(image)
            coder.do(_finish, sender, source, image, seen, writer)
            yield source


def _read(
    sender: MapSender | ImageSender, sources: Iterable[Source], workers: int
) -> Iterator[tuple[Source, Any]]:
    if isinstance(sources, list):
        yield from zip(sources, sender.read_all(sources, workers))
    else:
        for source in sources:
            yield source, sender.read(source)


def _finish(
    sender: MapSender | ImageSender, source: Source, image: Any, seen: Any, writer: Writer
) -> None:
    with about(source.path):
        data, sizes = sender.code(image, seen)
    height, width = sizes["image_size"]
    if source.size not in (None, (height, width)):
        wanted_height, wanted_width = source.size
        raise InputError(
            f"image {source.path} has {width} x {height} pixels, turned upright, and its JSON says "
            f"width x height {wanted_width} x {wanted_height}; correct the JSON, or restore the "
            "image that its boxes were drawn on"
        )
    sizes["image_size"] = (height, width)
    stored = os.path.getsize(source.path)
    writer.write(
        Entry(
            id=source.id,
            file_name=source.file_name,
            stored_bytes=stored,
            nbytes=len(data),
            digest=content_digest(data),
            source=source.digest,
            **sizes,
        ),
        data,
    )
