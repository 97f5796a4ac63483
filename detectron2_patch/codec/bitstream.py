"""One level's map as a stream of bytes that explains itself, and several levels in one string.

A level's stream: two bytes that say what it is, one byte of bits, range and precision, the
channels, height and width as variable-length numbers, the range where it is sent, the coded
indices (or the float32 values), and a CRC-32 of all that and of a fitted range, which isn't sent.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detectron2_patch.codec.entropy import compress, decompress
from detectron2_patch.codec.quantise import (
    BITS,
    Range,
    check_map,
    check_range,
    dequantise,
    measure_range,
    quantise,
    to_half,
    with_zero,
)
from detectron2_patch.codec.varint import read_varint, varint
from detectron2_patch.errors import InputError
from detectron2_patch.settings.codecs import Codec
from detectron2_patch.settings.levels import ANY, LEVELS
from detectron2_patch.settings.treatments import RANGES

MAGIC = b"\xd2\x01"  # the second byte is the version
PACK_MAGIC = b"\xd2P\x01"
LEVELS_MAGIC = b"\xd2L\x01"  # a pyramid of other levels than P2 to P6, which it names
CODEC_MAGIC = b"\xd2C"  # a level's bytes by another codec
WHOLE_MAGIC = b"\xd2W"  # several levels' bytes by one codec
KINDS = RANGES
MAX_ELEMENTS = 2**26  # of a level: twice those of P2 of a 1333x1333 image, 256 channels
HEADER_BYTES = 31  # of P2 to P6: what ``pack`` adds to the streams, however many
DAMAGED = "the stream is damaged, or not one of this program, or of another setting"


def encode(
    x: Tensor,
    bits: int | None = None,
    kind: str = "level",
    fitted: Range | None = None,
    context: bytes = b"",
) -> bytes:
    """The stream of one map.

    Args:
        x: ``(C, h, w)``, finite.
        bits: 1 to 8, or ``None`` for the float32 values as they are.
        kind: of ``KINDS``: the range of the whole map or of each channel, measured on this map
            and sent with it, or fitted: known to both sides, values outside are clipped.
        fitted: the range of the fitted kinds, one value or one a channel.
        context: whatever else both sides have agreed on; it isn't sent, but a receiver with
            another one refuses the stream.

    Raises:
        ValueError: NaN or infinite values, or arguments that don't fit together.
    """
    return _encode(x, bits, kind, fitted, context)[0]


def raw_length(shape: Sequence[int]) -> int:
    """Bytes of the stream of a map ``(C, h, w)`` of float32 values as they are."""
    return len(MAGIC) + 1 + sum(len(varint(size)) for size in shape) + 4 * math.prod(shape) + 4


def coded(
    x: Tensor,
    bits: int | None = None,
    kind: str = "level",
    fitted: Range | None = None,
    *,
    count: bool = True,
) -> tuple[Tensor, int]:
    """What the receiver gets, on the device of ``x``, and how many bytes it costs.

    ``decode(encode(x))`` and ``len(encode(x))`` without the work of decoding; without ``count``,
    and 0, without that of coding either.
    """
    if bits is not None and not count:
        x = x.detach().float()
        check_map(x)
        measured, _ = _ends(x, bits, kind, fitted)
        return dequantise(quantise(x, measured, bits), measured, bits), 0
    stream, indices, ends = _encode(x, bits, kind, fitted)
    if indices is None or ends is None or bits is None:
        return x.detach().float(), len(stream)
    return dequantise(indices, ends, bits), len(stream)


def decode(
    stream: bytes,
    fitted: Range | None = None,
    device: str | torch.device = "cpu",
    context: bytes = b"",
    size: tuple[int, int] | None = None,
) -> Tensor:
    """The map ``(C, h, w)`` of a stream, float32 on ``device``; of ``size``, where it is given.

    Raises:
        InputError: not a whole and sound stream of ``encode``, or another fitted range.
    """
    try:
        return _decode(bytes(stream), fitted, device, context, size)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{DAMAGED} ({error}); ask for it again") from error


def _encode(
    x: Tensor, bits: int | None, kind: str, fitted: Range | None, context: bytes = b""
) -> tuple[bytes, Tensor | None, Range | None]:
    x = x.detach().float()
    check_map(x)
    if bits is not None and x.numel() > MAX_ELEMENTS:
        raise InputError(
            f"a map of {tuple(x.shape)}: at most {MAX_ELEMENTS} values can be coded; "
            "send it without bits, or a smaller image"
        )
    shape = b"".join(varint(size) for size in x.shape)
    if bits is None:
        raw = x.cpu().contiguous().numpy().astype("<f4").tobytes()
        return _sealed(MAGIC + bytes([0]) + shape + raw, context), None, None
    ends, half = _ends(x, bits, kind, fitted)
    sent = _range_bytes(ends, "<f2" if half else "<f4") if fitted is None else b""
    unsent = context + (b"" if fitted is None else _range_bytes(ends))
    indices = quantise(x, ends, bits)
    head = MAGIC + bytes([bits | KINDS.index(kind) << 4 | half << 6]) + shape + sent
    return _sealed(head + compress(indices.cpu().numpy(), bits), unsent), indices, ends


def _ends(x: Tensor, bits: int, kind: str, fitted: Range | None) -> tuple[Range, bool]:
    """The range that a map is quantised over, and whether it is sent in float16."""
    if bits not in BITS or kind not in KINDS or (fitted is not None) != kind.startswith("fitted"):
        raise ValueError(f"{bits} bits with range {kind}, fitted {fitted is not None}")
    per_channel = kind.endswith("channel")
    if fitted is None:
        return sent_range(x, per_channel, bits)
    return check_range(fitted, len(x), per_channel), False


def sent_range(x: Tensor, per_channel: bool, bits: int) -> tuple[Range, bool]:
    """The range that is sent with a map: as measured, widened so that 0 is one of its steps, and
    to float16's values where that is hardly wider; and whether it is in float16."""
    ends = with_zero(measure_range(x, per_channel), bits)
    half = to_half(ends)
    return (ends, False) if half is None else (half, True)


def _decode(
    stream: bytes,
    fitted: Range | None,
    device: str | torch.device,
    context: bytes,
    size: tuple[int, int] | None,
) -> Tensor:
    if stream[:2] != MAGIC or len(stream) < 10:
        raise ValueError("it doesn't start like one")
    bits, kind, half, rest = stream[2] & 15, KINDS[stream[2] >> 4 & 3], stream[2] & 64, stream[3:-4]
    sizes: list[int] = []
    for _ in range(3):
        side, at = read_varint(rest, 0)
        sizes, rest = [*sizes, side], rest[at:]
    shape = (sizes[0], sizes[1], sizes[2])
    count = math.prod(shape)  # of raw values the length of the stream is the bound
    if stream[2] >> 7 or (bits and (bits not in BITS or count > MAX_ELEMENTS)) or not count:
        raise ValueError("its header makes no sense")
    if bits and kind.startswith("fitted") != (fitted is not None):
        raise InputError(
            f"the stream was coded with range {kind}; give the fitted range for "
            "fitted-level and fitted-channel, and none for the others"
        )
    per_channel = kind.endswith("channel")
    ends = check_range(fitted, shape[0], per_channel) if bits and fitted is not None else None
    unsent = context + (b"" if ends is None else _range_bytes(ends))
    if _sealed(stream[:-4], unsent) != stream:
        raise ValueError("its checksum is wrong")
    if size not in (None, shape[1:]):
        raise ValueError(f"it holds a map of {shape[1:]}, not of {size}")
    if not bits:
        if len(rest) != 4 * math.prod(shape):
            raise ValueError("its length is wrong")
        return (
            torch.from_numpy(np.frombuffer(rest, "<f4").astype(np.float32))
            .reshape(shape)
            .to(device)
        )
    if ends is None:
        ends, rest = _read_range(rest, shape[0], per_channel, "<f2" if half else "<f4")
    indices = decompress(rest, shape, bits)
    return dequantise(torch.from_numpy(indices).to(device), ends, bits)


def _read_range(data: bytes, channels: int, per_channel: bool, dtype: str) -> tuple[Range, bytes]:
    length = channels if per_channel else 1
    size = 2 * length * np.dtype(dtype).itemsize
    if len(data) < size:
        raise ValueError("it ends within its range")
    flat = torch.from_numpy(np.frombuffer(data, dtype, 2 * length).astype(np.float32))
    return check_range((flat[:length], flat[length:]), channels, per_channel), data[size:]


def _range_bytes(ends: Range, dtype: str = "<f4") -> bytes:
    return b"".join(end.numpy().astype(dtype).tobytes() for end in ends)


def _sealed(body: bytes, unsent: bytes = b"") -> bytes:
    return body + struct.pack("<I", zlib.crc32(body, zlib.crc32(unsent)))


@dataclass(frozen=True)
class Packed:
    """What ``unpack`` finds: the network's input size ``(h, w)`` and the streams by level."""

    size: tuple[int, int]
    streams: dict[str, bytes]


def header_bytes(levels: Sequence[str] = LEVELS) -> int:
    """What ``pack`` adds to the streams of a detector with these levels, however many are sent."""
    return len(_head(levels)) + 4 * len(levels) + 4


def _head(levels: Sequence[str], size: tuple[int, int] = (1, 1)) -> bytes:
    """Which pyramid it is: of P2 to P6 goes without saying."""
    if tuple(levels) == LEVELS:
        return PACK_MAGIC + struct.pack("<HH", *size)
    return LEVELS_MAGIC + struct.pack("<HHBB", *size, int(levels[0][1:]), len(levels))


def pack(
    streams: Mapping[str, bytes], size: tuple[int, int], levels: Sequence[str] = LEVELS
) -> bytes:
    """Several levels' streams and the network's input size in one: ``header_bytes(levels)`` more
    than the streams themselves.

    Args:
        levels: all of the detector, sent or not.

    Raises:
        ValueError: an unknown level, an empty stream, or a side that isn't 1 to 65535.
    """
    unknown = set(streams) - set(levels)
    if unknown or not all(streams.values()) or not all(0 < side < 2**16 for side in size):
        raise ValueError(f"cannot pack levels {list(streams)} of a network size {size}")
    lengths = [len(streams.get(level, b"")) for level in levels]
    head = _head(levels, size) + struct.pack(f"<{len(levels)}I", *lengths)
    return _sealed(head) + b"".join(streams[level] for level in levels if level in streams)


def unpack(data: bytes) -> Packed:
    """The streams that ``pack`` joined; each is checked when it is decoded.

    Raises:
        InputError: not what ``pack`` made, or not whole.
    """
    levels = _packed_levels(data)
    end = header_bytes(levels) if levels else 0
    head, rest = bytes(data[: end - 4]), bytes(data[end:])
    if not levels or len(data) < end or _sealed(head) != data[:end]:
        raise InputError(
            "this is no packed pyramid of this program, or it is damaged; ask for it again"
        )
    height, width = struct.unpack_from("<HH", head, len(PACK_MAGIC))
    lengths = struct.unpack(f"<{len(levels)}I", head[-4 * len(levels) :])
    if sum(lengths) != len(rest):
        raise InputError(
            f"a packed pyramid of {sum(lengths)} bytes of maps has {len(rest)}; ask for it again"
        )
    streams, at = {}, 0
    for level, length in zip(levels, lengths):
        if length:
            streams[level] = rest[at : at + length]
        at += length
    return Packed((height, width), streams)


def _packed_levels(data: bytes) -> tuple[str, ...]:
    """The levels of what ``pack`` made; none of anything else."""
    if data[:3] == PACK_MAGIC:
        return LEVELS
    if data[:3] != LEVELS_MAGIC or len(data) < 9:
        return ()
    first, count = data[7], data[8]
    return ANY[first - 1 : first - 1 + count] if first else ()


def seal_codec(codec: Codec, data: bytes, context: bytes) -> bytes:
    """A codec's bytes of one level with its name and version in front and a checksum behind."""
    return _sealed(CODEC_MAGIC + _signed(codec) + data, context)


def open_sealed(codec: Codec, stream: bytes, context: bytes) -> bytes:
    """The codec's bytes in what ``seal_codec`` made.

    Raises:
        InputError: another codec's, a later version's, or damaged.
    """
    return _unsigned(codec, CODEC_MAGIC, stream, context)


def pack_whole(codec: Codec, data: bytes, size: tuple[int, int], context: bytes) -> bytes:
    """A codec's bytes of several levels, with the network's input size ``(h, w)``."""
    sides = b"".join(varint(side) for side in size)
    return _sealed(WHOLE_MAGIC + _signed(codec) + sides + data, context)


def unpack_whole(codec: Codec, data: bytes, context: bytes) -> tuple[bytes, tuple[int, int]]:
    """The codec's bytes and the input size in what ``pack_whole`` made.

    Raises:
        InputError: another codec's, a later version's, or damaged.
    """
    rest = _unsigned(codec, WHOLE_MAGIC, bytes(data), context)
    try:
        height, at = read_varint(rest, 0)
        width, at = read_varint(rest, at)
    except ValueError as error:
        raise InputError(f"{DAMAGED} ({error}); ask for it again") from error
    if not (0 < height < 2**16 and 0 < width < 2**16):
        raise InputError(f"{DAMAGED} (a network size of {height}x{width}); ask for it again")
    return rest[at:], (height, width)


def _signed(codec: Codec) -> bytes:
    name = codec.name.encode("ascii")
    return bytes([len(name)]) + name + bytes([codec.version])


def _unsigned(codec: Codec, magic: bytes, stream: bytes, context: bytes) -> bytes:
    name, version = stream[3 : 3 + stream[2]] if len(stream) > 7 else b"", codec.version
    start = 4 + len(name)
    if stream[:2] != magic or not name or len(stream) < start + 4:
        raise InputError(f"{DAMAGED}; ask for it again")
    if name != codec.name.encode("ascii"):
        raise InputError(
            f"the stream is of the codec {name.decode('ascii', 'replace')!r}, and of "
            f"{codec.name!r} one is expected; ask for it again"
        )
    if stream[start - 1] > version:
        raise InputError(
            f"the stream is of version {stream[start - 1]} of {codec.name}, and this program "
            f"knows {version}; take a later one"
        )
    if _sealed(stream[:-4], context) != stream:
        raise InputError(f"{DAMAGED} (its checksum is wrong); ask for it again")
    return stream[start:-4]
