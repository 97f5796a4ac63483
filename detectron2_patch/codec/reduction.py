"""What becomes of one level that is sent: ratio, rank and bits, in this order, and back.

    sender:   shrink (ratio) -> project (rank) -> quantise and code (bits) -> bytes
    receiver: bytes -> decode -> back to all channels -> stretch

The codec of the built-in treatment ``Sent``. Any other codec of a level is its own treatment.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from detectron2_patch.codec.bitstream import coded, decode, encode, raw_length
from detectron2_patch.codec.fitted import Fitted, need
from detectron2_patch.codec.quantise import Range, with_zero
from detectron2_patch.codec.resample import reduced_size, shrink, stretch
from detectron2_patch.errors import InputError
from detectron2_patch.settings.treatments import Sent

Size = tuple[int, int]


def send(level: str, feature: Tensor, sent: Sent, fitted: Fitted | None) -> bytes:
    """The bytes of one image's clean map ``(C, H, W)``."""
    small = _reduced(level, feature[None], sent, fitted)[0]
    return encode(small, *_coding(level, sent, fitted), _context(level, sent, fitted))


def receive(
    level: str, stream: bytes, sent: Sent, size: Size, fitted: Fitted | None, device: Any = "cpu"
) -> Tensor:
    """The map ``(C, H, W)`` of a level's ``size`` from the bytes of ``send``.

    Raises:
        InputError: damaged bytes, or bytes of another treatment.
    """
    wanted = reduced_size(*size, sent.ratio)
    ends, context = _range(level, sent, fitted), _context(level, sent, fitted)
    try:
        values = decode(stream, ends, device, context, wanted)
    except InputError as error:
        raise InputError(f"{level}: {error}") from error
    return _expanded(level, values[None], sent, size, fitted)[0]


def transfer(
    level: str, clean: Tensor, sent: Sent, fitted: Fitted | None, count: bool
) -> tuple[Tensor, int]:
    """``receive`` of ``send`` of each image ``(N, C, H, W)``, without the work of decoding, and
    how many bytes; without ``count``, and 0 of coded maps, without that of coding either."""
    size = (clean.shape[-2], clean.shape[-1])
    if sent.lossless:
        return clean, sum(raw_length(x.shape) for x in clean)
    small = _reduced(level, clean, sent, fitted)
    if not sent.bits:
        nbytes = sum(raw_length(x.shape) for x in small)
    else:
        coding = _coding(level, sent, fitted)
        images = [coded(x, *coding, count=count) for x in small]
        small = torch.stack([values for values, _ in images])
        nbytes = sum(length for _, length in images)
    return _expanded(level, small, sent, size, fitted), nbytes


def elements(shape: Sequence[int], sent: Sent) -> int:
    """How many elements are sent of a map ``(…, C, H, W)``."""
    return prod(sent_shape(shape, sent))


def sent_shape(shape: Sequence[int], sent: Sent) -> tuple[int, int, int]:
    """``(k, h, w)`` of what is sent of a map ``(…, C, H, W)``."""
    *_, channels, height, width = shape
    return (sent.rank or channels, *reduced_size(height, width, sent.ratio))


def side_bytes(level: str, sent: Sent, fitted: Fitted | None) -> dict[str, int]:
    """Bytes of the fitted parts that a receiver needs, float32, sent once for all images."""
    found = {"basis": 0, "ranges": 0}
    if sent.rank:
        found["basis"] = 4 * (sent.rank + 1) * need(fitted).channels(level)
    ends = _range(level, sent, fitted)
    if ends is not None:
        found["ranges"] = 4 * sum(end.numel() for end in ends)
    return found


def _reduced(level: str, features: Tensor, sent: Sent, fitted: Fitted | None) -> Tensor:
    """``(N, C, H, W)`` -> ``(N, k, h, w)``: what is quantised."""
    features = shrink(features, sent.ratio)
    if sent.rank:
        basis, mean = need(fitted).basis(level, sent.rank, features.device)
        flat = (features - mean).flatten(2)
        projected = torch.stack([basis @ one for one in flat])  # alike in any batch
        features = projected.unflatten(2, features.shape[-2:])
    return features


def _expanded(level: str, values: Tensor, sent: Sent, size: Size, fitted: Fitted | None) -> Tensor:
    """``(N, k, h, w)`` -> ``(N, C, H, W)``: what a receiver makes of it."""
    if sent.rank:
        basis, mean = need(fitted).basis(level, sent.rank, values.device)
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
    parts = need(fitted).sha256 if sent.uses_fit else ""
    return f"{level} {float(sent.ratio)} {sent.rank} {sent.bits} {sent.range} {parts}".encode()


def _range(level: str, sent: Sent, fitted: Fitted | None) -> Range | None:
    if not sent.range.startswith("fitted"):
        return None
    by_channel = sent.range == "fitted-channel"
    low, high = need(fitted).range(level, sent.rank, sent.bits, by_channel)
    return with_zero((torch.from_numpy(low), torch.from_numpy(high)), sent.bits)
