"""From the clean maps to those that a receiver has: sender and receiver of a pyramid.

sender:   each level by its codec, or several by a codec of the pyramid -> bytes
receiver: bytes -> maps -> what wasn't sent is restored from them
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from detectron2_patch.codec import reduction
from detectron2_patch.codec.bitstream import (
    open_sealed,
    pack,
    pack_whole,
    seal_codec,
    unpack,
    unpack_whole,
)
from detectron2_patch.codec.fitted import Fitted, need
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import Codec, ImageCodec, LevelCodec, PyramidCodec
from detectron2_patch.settings.levels import ANY, LEVELS
from detectron2_patch.settings.registry import RESTORERS
from detectron2_patch.settings.treatments import Restored, Sent, Treatment, all_levels, is_sent
from detectron2_patch.utils.json_values import digest

Key = tuple[str, Treatment]
Size = tuple[int, int]
WHOLE, IMAGE = "pyramid", "image"  # what else than a level bytes can be of


def level_sizes(height: int, width: int, levels: Sequence[str] = LEVELS) -> dict[str, Size]:
    """Sizes of the levels for a padded network input: each is half the finer one, rounded up."""
    sizes = {}
    size = height, width
    for level in ANY:
        size = (-(-size[0] // 2), -(-size[1] // 2))
        sizes[level] = size
    return {level: sizes[level] for level in levels}


def whole_codec(treatments: Mapping[str, Treatment]) -> PyramidCodec | None:
    """The codec that carries several levels at once, where there is one."""
    return next((one for one in treatments.values() if isinstance(one, PyramidCodec)), None)


def send_pyramid(
    pyramid: Mapping[str, Tensor],
    treatments: Mapping[str, float | Treatment],
    network_size: Size,
    fitted: Fitted | None = None,
    levels: Sequence[str] = LEVELS,
) -> bytes:
    """All that crosses the wire for one image: its clean maps ``(C, H, W)`` under ``treatments``.

    Args:
        treatments: level to treatment or ratio, as ``patch_pyramid`` takes them.
        network_size: ``(h, w)`` of the padded input, from which a receiver knows every size.
        levels: the detector's, finest first.

    Raises:
        InputError: an image codec, which sends no maps; a map that can't be coded.
    """
    given = _of_maps(treatments, levels)
    codec = whole_codec(given)
    if codec is not None:
        data = codec.encode(pyramid, fitted)
        return pack_whole(codec, data, network_size, _agreed("", codec, fitted))
    streams = {
        level: _send(level, pyramid[level], one, fitted)
        for level, one in given.items()
        if is_sent(one)
    }
    return pack(streams, network_size, levels)


def receive_pyramid(
    data: bytes,
    treatments: Mapping[str, float | Treatment],
    fitted: Fitted | None = None,
    device: str | torch.device = "cpu",
    size: Size | None = None,
    levels: Sequence[str] = LEVELS,
) -> dict[str, Tensor]:
    """All levels, each ``(C, H, W)``, from the bytes of ``send_pyramid``.

    Args:
        size: the ``network_size`` that is expected, where the receiver knows it.

    Raises:
        InputError: damaged bytes, or bytes of other treatments or of another size.
    """
    given = _of_maps(treatments, levels)
    codec = whole_codec(given)
    if codec is not None:
        payload, found = unpack_whole(codec, data, _agreed("", codec, fitted))
        _check_network_size(found, size)
        sizes = level_sizes(*found, levels)
        have = Maps(sizes, fitted)
        for level, received in codec.decode(payload, sizes, fitted, device).items():
            have.maps[level, codec] = received[None]
        return {level: have.map(level, given[level])[0] for level in levels}
    packed = unpack(data)
    sent = [level for level in levels if is_sent(given[level])]
    if list(packed.streams) != sent:
        raise InputError(
            f"the bytes hold {', '.join(packed.streams)}, and {', '.join(sent)} "
            "should have been sent; ask for them again"
        )
    _check_network_size(packed.size, size)
    sizes = level_sizes(*packed.size, levels)
    have = Maps(sizes, fitted)
    for level in sent:
        one = given[level]
        received = _receive(level, packed.streams[level], one, sizes[level], fitted, device)
        have.maps[level, one] = received[None]
    return {level: have.map(level, given[level])[0] for level in levels}


def _check_network_size(found: Size, wanted: Size | None) -> None:
    if wanted not in (None, found):
        raise InputError(
            f"the bytes are of a network's input of {found}, and {wanted} was expected; ask for "
            "them again"
        )


def _of_maps(
    treatments: Mapping[str, float | Treatment], levels: Sequence[str]
) -> dict[str, Treatment]:
    given = all_levels(treatments, levels)
    image = given[levels[0]]
    if isinstance(image, ImageCodec):
        raise InputError(
            f"{image.word} codes the image and sends no maps; give image codecs to an evaluation"
        )
    return given


def _send(level: str, feature: Tensor, one: Treatment, fitted: Fitted | None) -> bytes:
    if isinstance(one, Sent):
        return reduction.send(level, feature, one, fitted)
    assert isinstance(one, LevelCodec)
    data = one.encode(level, feature, fitted)
    return seal_codec(one, data, _agreed(level, one, fitted))


def _receive(
    level: str, stream: bytes, one: Treatment, size: Size, fitted: Fitted | None, device: Any
) -> Tensor:
    if isinstance(one, Sent):
        return reduction.receive(level, stream, one, size, fitted, device)
    assert isinstance(one, LevelCodec)
    data = open_sealed(one, stream, _agreed(level, one, fitted))
    return _checked(one, one.decode(level, data, size, fitted, device), size)


def _agreed(level: str, codec: Codec, fitted: Fitted | None) -> bytes:
    """What both sides have agreed on of a codec, which the checksum of its bytes covers."""
    parts = need(fitted).sha256 if codec.uses_fit else ""
    return f"{level} {digest(codec.to_json())} {parts}".encode()


def _checked(codec: Codec, received: Tensor, size: Size) -> Tensor:
    if received.shape[-2:] != torch.Size(size):
        raise InputError(
            f"{codec.word} decodes to a map of {tuple(received.shape[-2:])}, not of {size}; ask "
            "for the bytes again"
        )
    return received


class Maps:
    """What a receiver has, by (level, treatment), each made once.

    Attributes:
        maps: what is there, ``(N, C, H, W)`` each.
    """

    def __init__(self, sizes: Mapping[str, Size], fitted: Fitted | None) -> None:
        self.sizes, self.fitted = sizes, fitted
        self.maps: dict[Key, Tensor] = {}

    def map(self, level: str, treatment: Treatment) -> Tensor:
        """The map of a level under a treatment."""
        key = level, treatment
        if key not in self.maps:
            self.maps[key] = self.make(level, treatment)
        return self.maps[key]

    def make(self, level: str, treatment: Treatment) -> Tensor:
        """Restore a map, from sources that are there."""
        if not isinstance(treatment, Restored):
            raise KeyError(f"{level} was not received as {treatment}")
        sources = {source: self.map(source, one) for source, one in treatment.sources}
        restorer = RESTORERS.get(treatment.how)()
        size = self.sizes[level]
        return restorer.restore(level, sources, size, treatment.weights, self.fitted)


class Channel(Maps):
    """Sender, wire and receiver of a batch in one: what is received under any treatment.

    The very values that ``receive_pyramid`` has of the bytes of ``send_pyramid``, without the work
    of decoding where a codec can do without, and each image's by itself, whatever else is in the
    batch.

    Args:
        clean: the maps, level to ``(N, C, H, W)``.
        counted: the (level, treatment) whose bytes are wanted; None: of all.
        recoded: of an image codec, the clean maps of the decoded images and the bytes.

    Attributes:
        nbytes: of what was sent so far, summed over the batch; of a codec of the pyramid or the
            image under its first level.
    """

    def __init__(
        self,
        clean: Mapping[str, Tensor],
        fitted: Fitted | None = None,
        counted: Collection[Key] | None = None,
        recoded: Any = None,
    ) -> None:
        super().__init__({level: (x.shape[-2], x.shape[-1]) for level, x in clean.items()}, fitted)
        self.clean, self.counted, self.recoded = clean, counted, recoded
        self.nbytes: dict[Key, int] = {}

    def make(self, level: str, treatment: Treatment) -> Tensor:
        """Send a level, or restore it from others that are sent for it."""
        if isinstance(treatment, Restored):
            return super().make(level, treatment)
        if isinstance(treatment, Sent):
            count = self.counted is None or (level, treatment) in self.counted
            received, nbytes = reduction.transfer(
                level, self.clean[level], treatment, self.fitted, count
            )
            self.nbytes[level, treatment] = nbytes
            return received
        if isinstance(treatment, LevelCodec):
            return self._level(level, treatment)
        self._together(treatment)
        return self.maps[level, treatment]

    def _level(self, level: str, codec: LevelCodec) -> Tensor:
        streams = [_send(level, one, codec, self.fitted) for one in self.clean[level]]
        self.nbytes[level, codec] = sum(map(len, streams))
        device, size = self.clean[level].device, self.sizes[level]
        return torch.stack(
            [_receive(level, one, codec, size, self.fitted, device) for one in streams]
        )

    def _together(self, codec: PyramidCodec | ImageCodec) -> None:
        """All levels that one codec carries."""
        if isinstance(codec, ImageCodec):
            if self.recoded is None:
                raise InputError(
                    f"{codec.word} codes the image, which isn't here any more; give image codecs "
                    "to an evaluation"
                )
            maps, nbytes = self.recoded(codec)
        else:
            maps, nbytes = self._pyramid(codec)
        levels = tuple(self.clean) if isinstance(codec, ImageCodec) else codec.levels
        self.maps.update({(level, codec): maps[level] for level in levels})
        self.nbytes[levels[0], codec] = nbytes

    def _pyramid(self, codec: PyramidCodec) -> tuple[dict[str, Tensor], int]:
        first = next(iter(self.clean.values()))
        size = network_size(self.clean)
        images, nbytes = [], 0
        for number in range(len(first)):
            one = {level: maps[number] for level, maps in self.clean.items()}
            data = codec.encode(one, self.fitted)
            agreed = _agreed("", codec, self.fitted)
            nbytes += len(pack_whole(codec, data, size, agreed))
            images.append(codec.decode(data, self.sizes, self.fitted, first.device))
        maps = {level: torch.stack([one[level] for one in images]) for level in codec.levels}
        for level, received in maps.items():
            _checked(codec, received, self.sizes[level])
        return maps, nbytes


def network_size(clean: Mapping[str, Tensor]) -> Size:
    """Of the padded input: ``(h, w)``, from the maps."""
    level, feature = next(iter(clean.items()))  # the finest
    height, width = feature.shape[-2:]
    stride = 2 ** int(level[1:])
    return stride * height, stride * width


def sent_elements(shape: torch.Size, treatment: Treatment) -> int:
    """Elements that are sent of maps ``(N, C, H, W)``; of codecs of all levels, none."""
    if isinstance(treatment, Sent):
        return shape[0] * reduction.elements(shape, treatment)
    return shape[0] * treatment.elements(shape[1:]) if isinstance(treatment, LevelCodec) else 0


def side_bytes(treatments: Mapping[str, Treatment], fitted: Fitted | None) -> dict[str, int]:
    """Bytes of the fitted parts that a receiver needs, sent once for all images, by kind."""
    found = {"basis": 0, "ranges": 0, "restorer": 0}

    def add(more: Mapping[str, int]) -> None:
        for kind, nbytes in more.items():
            found[kind] = found.get(kind, 0) + nbytes

    for level, one in treatments.items():
        if isinstance(one, Restored):
            names = [source for source, _ in one.sources]
            restorer = RESTORERS.get(one.how)()
            add({"restorer": restorer.side_bytes(level, names, fitted)})
        elif isinstance(one, Sent):
            add(reduction.side_bytes(level, one, fitted))
        elif isinstance(one, LevelCodec):
            add(one.side_bytes(level, fitted))
    codec = whole_codec(treatments)
    if codec is not None:
        add(codec.side_bytes(fitted))
    return found
