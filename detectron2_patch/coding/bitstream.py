"""One level's map as a stream of bytes that explains itself, and several levels in one file.

A level's stream: two bytes that say what it is, one byte of bits, range and precision, the
channels, height and width as variable-length numbers, the range where it is sent, the coded
indices (or the float32 values), and a CRC-32 of all that and of a fitted range, which isn't sent.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.coding.entropy import compress, decompress
from detectron2_patch.coding.quantise import (
    BITS, Range, check_map, check_range, dequantise, measure_range, quantise)
from detectron2_patch.coding.varint import read_varint, varint
from detectron2_patch.errors import InputError
from detectron2_patch.ratios import LEVELS

MAGIC = b"\xd2\x01"  # the second byte is the version
PACK_MAGIC = b"\xd2P\x01"
KINDS = ("level", "channel", "fitted-level", "fitted-channel")
MAX_ELEMENTS = 2**27  # of a level: four times the largest P2 of a 1333 pixel image
_PACK = struct.Struct("<3sHH5I")
HEADER_BYTES = _PACK.size + 4  # what ``pack`` adds to the streams, however many
DAMAGED = "the stream is damaged, or not one of this program, or its fitted range is another"


def encode(x: Tensor, bits: int | None = None, kind: str = "level",
           fitted: Range | None = None) -> bytes:
    """The stream of one map.

    Args:
        x: ``(C, h, w)``, finite.
        bits: 1 to 8, or ``None`` for the float32 values as they are.
        kind: of ``KINDS``: the range of the whole map or of each channel, measured on this map
            and sent with it, or fitted: known to both sides, values outside are clipped.
        fitted: the range of the fitted kinds, one value or one a channel.

    Raises:
        ValueError: NaN or infinite values, or arguments that don't fit together.
    """
    return _encode(x, bits, kind, fitted)[0]


def coded(x: Tensor, bits: int | None = None, kind: str = "level",
          fitted: Range | None = None) -> tuple[Tensor, int]:
    """What the receiver gets, on the device of ``x``, and how many bytes it costs.

    ``decode(encode(x))`` and ``len(encode(x))`` without the work of decoding.
    """
    stream, indices, ends = _encode(x, bits, kind, fitted)
    values = x.float() if indices is None else dequantise(indices, ends, bits)
    return values, len(stream)


def decode(stream: bytes, fitted: Range | None = None,
           device: str | torch.device = "cpu") -> Tensor:
    """The map ``(C, h, w)`` of a stream, float32 on ``device``.

    Raises:
        InputError: not a whole and sound stream of ``encode``, or another fitted range.
    """
    try:
        return _decode(bytes(stream), fitted, device)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{DAMAGED} ({error}); ask for it again") from error


def _encode(x: Tensor, bits: int | None, kind: str,
            fitted: Range | None) -> tuple[bytes, Tensor | None, Range | None]:
    check_map(x)
    if x.numel() > MAX_ELEMENTS:
        raise ValueError(f"a map of {tuple(x.shape)}: at most {MAX_ELEMENTS} elements can be coded")
    shape = b"".join(varint(size) for size in x.shape)
    if bits is None:
        raw = x.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes()
        return _sealed(MAGIC + bytes([0]) + shape + raw), None, None
    if bits not in BITS or kind not in KINDS or (fitted is not None) != kind.startswith("fitted"):
        raise ValueError(f"{bits} bits with range {kind}, fitted {fitted is not None}")
    per_channel = kind.endswith("channel")
    if fitted is None:
        ends = measure_range(x, per_channel)
        sent, unsent = _range_bytes(ends), b""
    else:
        ends = check_range(fitted, len(x), per_channel)
        sent, unsent = b"", _range_bytes(ends)
    indices = quantise(x.detach(), ends, bits)
    head = MAGIC + bytes([bits | KINDS.index(kind) << 4]) + shape + sent
    return _sealed(head + compress(indices.cpu().numpy(), bits), unsent), indices, ends


def _decode(stream: bytes, fitted: Range | None, device: str | torch.device) -> Tensor:
    if stream[:2] != MAGIC or len(stream) < 10:
        raise ValueError("it doesn't start like one")
    bits, kind = stream[2] & 15, KINDS[stream[2] >> 4 & 3]
    at, shape = 3, []
    for _ in range(3):
        size, at = read_varint(stream, at)
        shape.append(size)
    body, elements = stream[:-4], int(np.prod([float(size) for size in shape]))
    if stream[2] >> 6 or (bits and bits not in BITS) or not 0 < elements <= MAX_ELEMENTS:
        raise ValueError("its header makes no sense")
    is_fitted, per_channel = kind.startswith("fitted") and bits > 0, kind.endswith("channel")
    if is_fitted != (fitted is not None):
        raise InputError(f"the stream was coded with range {kind if bits else 'none'}; "
                         f"{'give its' if is_fitted else 'it takes no'} fitted range")
    ends = check_range(fitted, shape[0], per_channel) if is_fitted else None
    if body + _crc(body, _range_bytes(ends) if is_fitted else b"") != stream:
        raise ValueError("its checksum is wrong")
    if not bits:
        if len(body) - at != 4 * elements:
            raise ValueError("its length is wrong")
        return torch.from_numpy(
            np.frombuffer(body, "<f4", offset=at).astype(np.float32).reshape(shape)).to(device)
    if not is_fitted:
        length = shape[0] if per_channel else 1
        if len(body) < at + 8 * length:
            raise ValueError("it ends within its range")
        flat = torch.from_numpy(np.frombuffer(body, "<f4", 2 * length, at).astype(np.float32))
        ends = check_range((flat[:length], flat[length:]), shape[0], per_channel)
        at += 8 * length
    indices = torch.from_numpy(np.array(decompress(body[at:], tuple(shape), bits)))
    return dequantise(indices.to(device), ends, bits)


def _range_bytes(ends: Range) -> bytes:
    return b"".join(end.numpy().astype("<f4").tobytes() for end in ends)


def _crc(body: bytes, unsent: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(body, zlib.crc32(unsent)))


def _sealed(body: bytes, unsent: bytes = b"") -> bytes:
    return body + _crc(body, unsent)


@dataclass(frozen=True)
class Packed:
    """What ``unpack`` finds: the network's input size ``(h, w)`` and the streams by level."""

    size: tuple[int, int]
    streams: dict[str, bytes]


def pack(streams: Mapping[str, bytes], size: tuple[int, int]) -> bytes:
    """Several levels' streams and the network's input size in one: ``HEADER_BYTES`` more than
    the streams themselves.

    Raises:
        ValueError: an unknown level, an empty stream, or a side that isn't 1 to 65535.
    """
    unknown = set(streams) - set(LEVELS)
    if unknown or not all(streams.values()) or not all(0 < side < 2**16 for side in size):
        raise ValueError(f"cannot pack levels {list(streams)} of a network size {size}")
    head = _PACK.pack(PACK_MAGIC, *size, *(len(streams.get(level, b"")) for level in LEVELS))
    return _sealed(head) + b"".join(streams[level] for level in LEVELS if level in streams)


def unpack(data: bytes) -> Packed:
    """The streams that ``pack`` joined; each is checked when it is decoded.

    Raises:
        InputError: not what ``pack`` made, or not whole.
    """
    head, rest = bytes(data[:_PACK.size]), bytes(data[HEADER_BYTES:])
    if len(data) < HEADER_BYTES or _sealed(head) != data[:HEADER_BYTES] or head[:3] != PACK_MAGIC:
        raise InputError("this is no packed pyramid of this program, or it is damaged; "
                         "ask for it again")
    _, height, width, *lengths = _PACK.unpack(head)
    if sum(lengths) != len(rest):
        raise InputError(f"a packed pyramid of {sum(lengths)} bytes of maps has {len(rest)}; "
                         "ask for it again")
    streams, at = {}, 0
    for level, length in zip(LEVELS, lengths):
        if length:
            streams[level] = rest[at:at + length]
        at += length
    return Packed((height, width), streams)
