"""From the clean maps to those that a receiver has: sender and receiver, a level and a pyramid.

sender:   shrink (ratio) -> project (rank) -> quantise and code (bits) -> bytes
receiver: bytes -> decode -> back to all channels -> stretch -> restore what wasn't sent
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from detectron2_patch.codec.bitstream import (
    coded,
    decode,
    encode,
    pack,
    raw_length,
    unpack,
)
from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.quantise import Range, with_zero
from detectron2_patch.codec.resample import reduced_size, shrink, stretch
from detectron2_patch.codec.restore import linear, mix, resample, subsample
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS
from detectron2_patch.settings.treatments import FIT, MIX, SUBSAMPLE, Restored, Sent, Treatment

Key = tuple[str, Treatment]


def level_sizes(height: int, width: int) -> dict[str, tuple[int, int]]:
    """Sizes of P2 to P6 for a padded network input: each is half the finer one, rounded up."""
    sizes = {}
    size = (-(-height // 2), -(-width // 2))
    for level in LEVELS:
        size = (-(-size[0] // 2), -(-size[1] // 2))
        sizes[level] = size
    return sizes


def send_level(level: str, feature: Tensor, sent: Sent, fitted: Fitted | None) -> bytes:
    """The bytes of one image's clean map ``(C, H, W)``."""
    small = _reduced(level, feature[None], sent, fitted)[0]
    return encode(small, *_coding(level, sent, fitted), _context(level, sent, fitted))


def receive_level(
    level: str,
    stream: bytes,
    sent: Sent,
    size: tuple[int, int],
    fitted: Fitted | None,
    device: str | torch.device = "cpu",
) -> Tensor:
    """The map ``(C, H, W)`` of a level's ``size`` from the bytes of ``send_level``.

    Raises:
        InputError: damaged bytes, or bytes of another treatment.
    """
    values = decode(stream, _range(level, sent, fitted), device, _context(level, sent, fitted))
    if values.shape[-2:] != torch.Size(reduced_size(*size, sent.ratio)):
        raise InputError(
            f"the stream of {level} holds a map of {tuple(values.shape[-2:])}, not of "
            f"{size} at ratio {sent.ratio:g}; ask for it again"
        )
    return _expanded(level, values[None], sent, size, fitted)[0]


def send_pyramid(
    pyramid: Mapping[str, Tensor],
    treatments: Mapping[str, Treatment],
    network_size: tuple[int, int],
    fitted: Fitted | None = None,
) -> bytes:
    """All that crosses the wire for one image: its clean maps ``(C, H, W)`` under ``treatments``.

    Args:
        network_size: ``(h, w)`` of the padded input, from which a receiver knows every size.
    """
    return pack(
        {
            level: send_level(level, pyramid[level], one, fitted)
            for level, one in treatments.items()
            if isinstance(one, Sent)
        },
        network_size,
    )


def receive_pyramid(
    data: bytes,
    treatments: Mapping[str, Treatment],
    fitted: Fitted | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Tensor]:
    """P2 to P6, each ``(C, H, W)``, from the bytes of ``send_pyramid``.

    Raises:
        InputError: damaged bytes, or bytes of other treatments.
    """
    packed = unpack(data)
    sent = [level for level in LEVELS if isinstance(treatments[level], Sent)]
    if list(packed.streams) != sent:
        raise InputError(
            f"the bytes hold {', '.join(packed.streams)}, and {', '.join(sent)} "
            "should have been sent; ask for them again"
        )
    sizes = level_sizes(*packed.size)
    have = Maps(sizes, fitted)
    for level in sent:
        one = treatments[level]
        received = receive_level(level, packed.streams[level], one, sizes[level], fitted, device)
        have.maps[level, one] = received[None]
    return {level: have.map(level, treatments[level])[0] for level in LEVELS}


class Maps:
    """What a receiver has, by (level, treatment), each made once.

    Attributes:
        maps: what is there, ``(N, C, H, W)`` each.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]], fitted: Fitted | None) -> None:
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
        sources = [self.map(*source) for source in treatment.sources]
        size = self.sizes[level]
        if treatment.how == SUBSAMPLE:
            return subsample(sources[0])
        if treatment.how == MIX:
            return mix(sources, treatment.weights, size)
        if treatment.how == FIT:
            assert self.fitted is not None
            names = [source for source, _ in treatment.sources]
            return linear(sources, *self.fitted.restorer(level, names, sources[0].device), size)
        return resample(sources[0], size)


class Channel(Maps):
    """Sender, wire and receiver of a batch in one: what is received under any treatment.

    The very values that ``receive_pyramid`` has of the bytes of ``send_pyramid``, without the work
    of decoding, and each image's by itself, whatever else is in the batch.

    Args:
        clean: the maps, level to ``(N, C, H, W)``.
        counted: the (level, treatment) whose bytes are wanted; None: of all.

    Attributes:
        nbytes: of what was sent so far, summed over the batch.
    """

    def __init__(
        self,
        clean: Mapping[str, Tensor],
        fitted: Fitted | None = None,
        counted: Collection[Key] | None = None,
    ) -> None:
        super().__init__({level: tuple(x.shape[-2:]) for level, x in clean.items()}, fitted)
        self.clean, self.counted = clean, counted
        self.nbytes: dict[Key, int] = {}

    def make(self, level: str, treatment: Treatment) -> Tensor:
        """Send a level, or restore it from others that are sent for it."""
        if not isinstance(treatment, Sent):
            return super().make(level, treatment)
        clean, key = self.clean[level], (level, treatment)
        if treatment.lossless:
            self.nbytes[key] = sum(raw_length(x.shape) for x in clean)
            return clean
        small = _reduced(level, clean, treatment, self.fitted)
        if treatment.bits:
            count = self.counted is None or key in self.counted
            coding = _coding(level, treatment, self.fitted)
            images = [coded(x, *coding, count=count) for x in small]
            small = torch.stack([values for values, _ in images])
            self.nbytes[key] = sum(nbytes for _, nbytes in images)
        else:
            self.nbytes[key] = sum(raw_length(x.shape) for x in small)
        return _expanded(level, small, treatment, self.sizes[level], self.fitted)


def sent_shape(shape: torch.Size, sent: Sent) -> tuple[int, int, int]:
    """``(k, h, w)`` of what is sent of a map ``(…, C, H, W)``."""
    *_, channels, height, width = shape
    return (sent.rank or channels, *reduced_size(height, width, sent.ratio))


def _reduced(level: str, features: Tensor, sent: Sent, fitted: Fitted | None) -> Tensor:
    """``(N, C, H, W)`` -> ``(N, k, h, w)``: what is quantised."""
    features = shrink(features, sent.ratio)
    if sent.rank:
        basis, mean = _parts(fitted).basis(level, sent.rank, features.device)
        flat = (features - mean).flatten(2)
        projected = torch.stack([basis @ one for one in flat])  # alike in any batch
        features = projected.unflatten(2, features.shape[-2:])
    return features


def _expanded(
    level: str, values: Tensor, sent: Sent, size: tuple[int, int], fitted: Fitted | None
) -> Tensor:
    """``(N, k, h, w)`` -> ``(N, C, H, W)``: what a receiver makes of it."""
    if sent.rank:
        basis, mean = _parts(fitted).basis(level, sent.rank, values.device)
        flat = torch.stack([basis.T @ one for one in values.flatten(2)])
        values = flat.unflatten(2, values.shape[-2:]) + mean
    return stretch(values, sent.ratio, size)


def _coding(level: str, sent: Sent, fitted: Fitted | None) -> tuple[int | None, str, Range | None]:
    """The arguments of ``encode`` after the map."""
    if not sent.bits:
        return None, "level", None
    return sent.bits, sent.range, _range(level, sent, fitted)


def _context(level: str, sent: Sent, fitted: Fitted | None) -> bytes:
    """What both sides have agreed on, which a stream's checksum covers."""
    parts = _parts(fitted).sha256 if sent.uses_fit else ""
    return f"{level} {float(sent.ratio)} {sent.rank} {sent.bits} {sent.range} {parts}".encode()


def _range(level: str, sent: Sent, fitted: Fitted | None) -> Range | None:
    if not sent.range.startswith("fitted"):
        return None
    by_channel = sent.range == "fitted-channel"
    low, high = _parts(fitted).range(level, sent.rank, sent.bits, by_channel)
    return with_zero((torch.from_numpy(low), torch.from_numpy(high)), sent.bits)


def _parts(fitted: Fitted | None) -> Fitted:
    if fitted is None:
        raise InputError(
            "this setting needs fitted parts; give --fitted FILE, which tools/fit.py makes"
        )
    return fitted


def side_bytes(treatments: Mapping[str, Treatment], fitted: Fitted | None) -> dict[str, int]:
    """Bytes of the fitted parts that a receiver needs, float32, sent once for all images."""
    basis = ranges = restorer = 0
    for level, one in treatments.items():
        if isinstance(one, Restored) and one.how == FIT:
            names = [source for source, _ in one.sources]
            weight, bias = _parts(fitted).restorer(level, names, torch.device("cpu"))
            restorer += 4 * (weight.numel() + bias.numel())
        elif isinstance(one, Sent):
            if one.rank:
                basis += 4 * (one.rank + 1) * _parts(fitted).channels(level)
            fitted_range = _range(level, one, fitted)
            if fitted_range is not None:
                ranges += 4 * sum(end.numel() for end in fitted_range)
    return {"basis": basis, "ranges": ranges, "restorer": restorer}
