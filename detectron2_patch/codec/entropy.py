"""The lossless coder of a map's indices: a range coder with probabilities learnt on the way.

The coder itself is the library constriction; this module says how likely each index is. An index
is predicted from its four neighbours that are known already (left, above, above left, above right),
and what is coded is the difference. Its probabilities are counts of what followed in the same
context so far: how much the neighbours differ and how badly they were predicted, and how badly
this channel, and the channels before it at this place, were predicted. Nothing about the
probabilities is sent: the decoder counts the same.

The values are visited in waves, ``2 * row + column + channel``, since what a value's context needs
lies in earlier waves: so the decoder works on whole waves, and the encoder on whole maps. All of
it is integers and IEEE divisions, hence the same bytes everywhere. Where numba is installed (the
extra ``fast``), ``entropy_compiled`` does the same work, to the same bytes, several times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from detectron2_patch.codec.varint import read_varint, varint
from detectron2_patch.errors import InputError

BLOCK = 2**20  # values that are in work at once; of a large map, some channels after the others
_PARTS, _LEANS = 4, 3  # quarters between two predicted indices, sides that the neighbours lie on
_EDGES = np.array([0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 34, 44, 60, 100])
_LOCAL = (np.searchsorted(_EDGES, np.arange(1024) / 0.7, side="right") - 1).astype(np.int32)
_FAR = (np.searchsorted(_EDGES, np.arange(2048) / 3, side="right") - 1).astype(np.int32)
_BINS = len(_EDGES)
_EXACT = 4  # differences up to this one have a symbol of their own, larger ones share it
_CAP = 15  # differences count as no larger in a context


def compress(indices: np.ndarray, bits: int) -> bytes:
    """Indices, uint8 ``(C, h, w)`` below 2**bits, as bytes; the same bytes for the same indices.

    Raises:
        InputError: neither constriction nor numba is installed.
    """
    fast = compiled()
    return compress_by_waves(indices, bits) if fast is None else fast.compress(indices, bits)


def decompress(payload: bytes, shape: tuple[int, int, int], bits: int) -> np.ndarray:
    """The indices that ``compress`` was given.

    Raises:
        ValueError: ``payload`` isn't what ``compress`` made of indices of this shape and bits.
        InputError: neither constriction nor numba is installed.
    """
    fast = compiled()
    decode = decompress_by_waves if fast is None else fast.decompress
    return decode(payload, shape, bits)


@lru_cache(maxsize=1)
def compiled() -> Any:
    """The module of the compiled coder; None without numba, or a folder for what it makes."""
    try:
        from detectron2_patch.codec import entropy_compiled
    except (ImportError, RuntimeError):  # the latter where there is no place for what is compiled
        return None
    return entropy_compiled


def compress_by_waves(indices: np.ndarray, bits: int) -> bytes:
    """``compress`` without numba."""
    coder, family = _constriction()
    encoder, counts, rest = coder.RangeEncoder(), _Counts(bits), []
    start, before = 2 ** (bits - 1), None
    for block in _blocks(indices.shape):
        scan = _scan(len(indices[block]), *indices.shape[1:])
        x = np.append(indices[block].ravel(), np.uint8(start)).astype(np.int16)
        symbols, extra, contexts, before = _describe(x, scan, before, bits)
        start = x[-1 - scan.plane]
        for part in _portions(scan, counts):
            encoder.encode(symbols[part], family, counts.rows(contexts[part]))
            counts.learn(contexts[part], symbols[part])
        rest.append(extra)
    coded = encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
    raw = np.packbits(np.concatenate(rest)).tobytes()
    return varint(len(raw)) + raw + coded


def decompress_by_waves(payload: bytes, shape: tuple[int, int, int], bits: int) -> np.ndarray:
    """``decompress`` without numba."""
    coder, family = _constriction()
    length, at = read_varint(payload, 0)
    if length > len(payload) - at:
        raise ValueError("the coded indices end early")
    bitstream = _Bits(payload[at : at + length])
    coded = payload[at + length :]
    decoder = coder.RangeDecoder(
        np.frombuffer(coded + bytes(-len(coded) % 4), "<u4").astype(np.uint32)
    )
    counts, start, before, planes = _Counts(bits), 2 ** (bits - 1), None, []
    for block in _blocks(shape):
        scan = _scan(block.stop - block.start, *shape[1:])
        state = _State(scan, before, start)
        for portion in _portions(scan, counts):
            done = [
                _decode_wave(state, wave, decoder, family, counts, bitstream, bits)
                for wave in _waves(scan, portion)
            ]
            counts.learn(*(np.concatenate(each) for each in zip(*done)))
        before, start = state.past[-scan.plane :], state.x[-1 - scan.plane]
        planes.append(state.x[:-1].astype(np.uint8))
    if not decoder.maybe_exhausted() or not bitstream.exhausted():
        raise ValueError("the coded indices go on where they should end")
    return np.concatenate(planes).reshape(shape)


def _constriction() -> tuple[Any, Any]:
    """Its range coder, and the family of models that take a row of probabilities a symbol."""
    try:
        import constriction
    except ImportError as error:
        raise InputError(
            "bits need the package constriction, which has no wheel for every machine, or numba; "
            "pip install constriction, pip install 'detectron2-patch[fast]', or send without bits"
        ) from error
    return constriction.stream.queue, constriction.stream.model.Categorical(perfect=False)


def _blocks(shape: tuple[int, int, int]) -> Iterator[slice]:
    count = max(1, BLOCK // (shape[1] * shape[2]))
    for first in range(0, shape[0], count):
        yield slice(first, min(first + count, shape[0]))


class _Scan(NamedTuple):
    """The order of a block's values, and where each one's neighbours lie."""

    order: np.ndarray  # (values,) flat positions, wave by wave
    bounds: np.ndarray  # (waves + 1,) where each wave starts in ``order``
    near: np.ndarray  # (4, values) flat positions of left, above, above left, above right
    channels: int
    plane: int  # values of a channel
    known: np.ndarray  # (a channel's waves + 1,) how many of its values earlier waves hold


@lru_cache(maxsize=8)  # five levels and what remains of a large map; 25 MB of a whole block
def _scan(channels: int, h: int, w: int) -> _Scan:
    y, x = np.divmod(np.arange(h * w), w)
    here, top, edge = np.arange(h * w), y == 0, x == 0
    left = np.where(edge, here - w, here - 1)  # a neighbour that isn't there is stood in for
    above = np.where(top, here - 1, here - w)
    near = np.stack(
        [
            left,
            above,
            np.where(edge | top, np.where(edge, above, left), here - w - 1),
            np.where(top | (x == w - 1), above, here - w + 1),
        ]
    )
    near = near[:, None] + h * w * np.arange(channels)[:, None]
    near[:, :, 0] = h * w * np.arange(-1, channels - 1)  # the first value: the channel's before
    near[:, 0, 0] = channels * h * w  # none before: the value after the last stands for it
    wave = 2 * y + x
    waves = (wave + np.arange(channels)[:, None]).ravel()
    dtype = np.uint16 if waves[-1] < 2**16 else np.int64  # narrow numbers are sorted faster
    return _Scan(
        np.argsort(waves.astype(dtype), kind="stable").astype(np.int32),
        np.append(0, np.cumsum(np.bincount(waves))),
        near.reshape(4, -1).astype(np.int32),
        channels,
        h * w,
        np.append(0, np.cumsum(np.bincount(wave))),
    )


class _Counts:
    """How often each symbol followed in each context, as probabilities.

    A context that was seen little leans on its ``parent``, the same without what is far.
    """

    def __init__(self, bits: int) -> None:
        self.largest = _symbol_count(bits)
        size = 2 * self.largest + 1
        magnitudes = np.append(np.arange(self.largest + 1), np.arange(1, self.largest + 1))
        prior = np.where(magnitudes == 0, 0.6, 0.12 / np.maximum(magnitudes, 1) ** 2)
        self.prior = prior / prior.sum()
        self.seen = np.zeros((_BINS * _PARTS * _LEANS, _BINS, size), np.int64)
        self.total = 0
        self.room = np.empty((0, size), np.float32)
        self._refresh()

    def due(self) -> int:
        """After how many values the probabilities change next."""
        return self.total + 32 + self.total // 10

    def learn(self, contexts: np.ndarray, symbols: np.ndarray) -> None:
        """Count what was coded since the probabilities changed last, and change them."""
        size = self.seen.shape[-1]
        self.seen += np.bincount(contexts * size + symbols, minlength=self.seen.size).reshape(
            self.seen.shape
        )
        self.total += len(symbols)
        self._refresh()

    def rows(self, contexts: np.ndarray) -> np.ndarray:
        """The probabilities of each context, to be used before the next call."""
        if len(contexts) > len(self.room):  # memory that is asked for anew each time is slow
            self.room = np.empty((len(contexts), self.seen.shape[-1]), np.float32)
        return self.table.take(contexts, 0, self.room[: len(contexts)], "clip")

    def _refresh(self) -> None:
        parents = self.seen.sum(1, keepdims=True)
        likely = (parents + 2 * self.prior) / (parents.sum(-1, keepdims=True) + 2)
        table = (self.seen + 30 * likely) / (self.seen.sum(-1, keepdims=True) + 30)
        self.table = table.reshape(-1, table.shape[-1]).astype(np.float32)


def _portions(scan: _Scan, counts: _Counts) -> Iterator[slice]:
    """The waves of a block in portions that are coded with the same probabilities."""
    first = 0
    while first < len(scan.order):
        wanted = first + counts.due() - counts.total
        bound = min(int(np.searchsorted(scan.bounds, wanted)), len(scan.bounds) - 1)
        last = int(scan.bounds[bound])
        yield slice(first, last)
        first = last


def _waves(scan: _Scan, portion: slice) -> Iterator[int]:
    first, last = np.searchsorted(scan.bounds, (portion.start, portion.stop))
    for wave in range(first, last):
        if scan.bounds[wave] < scan.bounds[wave + 1]:  # one column has every other wave empty
            yield wave


def _predict(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the neighbours' indices ``(4, …)``: the predicted index, and the quarter beyond it."""
    quarters = 2 * x[0] + x[1] + x[3] + 2
    return quarters >> 2, quarters & 3


def _context(x: np.ndarray, missed: np.ndarray, part: np.ndarray, far: np.ndarray) -> np.ndarray:
    """The number of the context, from what is known of the four neighbours ``(4, …)``.

    Args:
        x: their indices.
        missed: by how much they were predicted too low, at most 15.
        part: the quarter of the prediction.
        far: how badly this channel and the ones before were predicted.
    """
    wrong = np.abs(missed)
    unrest = (
        np.abs(x[0] - x[2])
        + np.abs(x[1] - x[2])
        + np.abs(x[1] - x[3])
        + wrong[0]
        + wrong[1]
        + (wrong[2] + wrong[3] >> 1)
    )
    lean = np.sign(missed[0] + missed[1]) + 1
    small = part * np.int16(_LEANS) + lean
    return (_LOCAL * (_PARTS * _LEANS * _BINS))[unrest] + small * np.int32(_BINS) + _FAR[far]


def _fade(past: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """How badly a place was predicted in the channels so far, the last one weighing most."""
    return past - (past >> 2) + 16 * np.abs(missed)


def _describe(
    x: np.ndarray, scan: _Scan, before: np.ndarray | None, bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A block's symbols, raw bits and contexts, wave by wave, and the ``past`` after it."""
    near = x[scan.near]
    predicted, part = _predict(near)
    difference = x[:-1] - predicted
    missed = np.append(np.clip(difference, -_CAP, _CAP), np.int16(0))
    by_channel = missed[:-1].reshape(scan.channels, -1)
    past = np.zeros((scan.channels + 1, scan.plane), np.int16)
    if before is not None:
        past[0] = before
    for channel, row in enumerate(by_channel):
        past[channel + 1] = _fade(past[channel], row)
    far = past[:-1].ravel() + _channel_means(by_channel, scan)
    contexts = _context(near, missed[scan.near], part, far)
    symbols, extra = _to_symbols(difference[scan.order], bits)
    return symbols, extra, contexts[scan.order], past[-1]


def _channel_means(missed: np.ndarray, scan: _Scan) -> np.ndarray:
    """64 times the mean miss of each channel in the waves before each value, int16."""
    waves = len(scan.known) - 1
    lengths = np.diff(scan.known)
    # the first channel's waves are the rows of its own scan: position to wave, for every channel
    own = scan.order[scan.order < scan.plane]
    wave = np.empty(scan.plane, np.int64)
    wave[own] = np.repeat(np.arange(waves), lengths)
    at = wave + waves * np.arange(scan.channels)[:, None]
    sums = np.bincount(at.ravel(), np.abs(missed).ravel(), minlength=scan.channels * waves)
    sums = sums.reshape(scan.channels, waves).astype(np.int64)
    earlier = np.cumsum(sums, axis=1) - sums
    return (64 * earlier // np.maximum(scan.known[:-1], 1)).astype(np.int16).ravel()[at.ravel()]


class _State:
    """What the decoder knows of a block."""

    def __init__(self, scan: _Scan, before: np.ndarray | None, start: int) -> None:
        self.scan = scan
        self.x = np.zeros(len(scan.order) + 1, np.int16)
        self.x[-1] = start
        self.missed = np.zeros_like(self.x)
        self.past = np.zeros(len(scan.order) + scan.plane, np.int16)
        if before is not None:
            self.past[: scan.plane] = before
        self.sums = np.zeros(scan.channels, np.int64)  # of the misses of each channel


def _decode_wave(
    state: _State,
    wave: int,
    decoder: Any,
    family: Any,
    counts: _Counts,
    bitstream: _Bits,
    bits: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Decode one wave into ``state``; returns its contexts and symbols."""
    scan = state.scan
    at = scan.order[scan.bounds[wave] : scan.bounds[wave + 1]]
    near = scan.near[:, at]
    x = state.x[near]
    predicted, part = _predict(x)
    channel = at // scan.plane
    known = scan.known[np.clip(wave - np.arange(scan.channels), 0, len(scan.known) - 1)]
    means = (64 * state.sums // np.maximum(known, 1)).astype(np.int16)
    contexts = _context(x, state.missed[near], part, state.past[at] + means[channel])
    try:
        symbols = decoder.decode(family, counts.rows(contexts))
    except AssertionError as error:
        raise ValueError("the coded indices make no sense") from error
    difference = _from_symbols(symbols, bitstream, bits)
    decoded = predicted + difference
    if decoded.min() < 0 or decoded.max() >> bits:
        raise ValueError("an index outside the steps")
    missed = np.clip(difference, -_CAP, _CAP)
    state.x[at], state.missed[at] = decoded, missed
    state.past[at + scan.plane] = _fade(state.past[at], missed)
    state.sums += np.bincount(channel, np.abs(missed), scan.channels).astype(np.int64)
    return contexts, symbols


def _symbol_count(bits: int) -> int:
    """The largest symbol of a difference below 2**bits, its sign aside."""
    return bits + 2 if bits > 2 else 2**bits - 1


def _to_symbols(difference: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences as symbols, int32, and as the raw bits that tell apart those of one symbol.

    0 to 4 are themselves, 5 is 5 to 8, 6 is 9 to 16 …; the negative ones follow the largest.
    """
    size = np.abs(difference)
    symbols = _SYMBOLS[size]
    symbols += (difference < 0) * np.int32(_symbol_count(bits))
    large = np.flatnonzero(size > _EXACT)
    width = _SYMBOLS[size[large]] - 3
    index, shift = _bit_places(width)
    rest = size[large] - 2**width - 1
    return symbols, (rest[index] >> shift & 1).astype(np.uint8)


def _from_symbols(symbols: np.ndarray, bitstream: _Bits, bits: int) -> np.ndarray:
    largest = _symbol_count(bits)
    negative = symbols > largest
    size = (symbols - largest * negative).astype(np.int16)
    large = np.flatnonzero(size > _EXACT)
    if len(large):
        width = size[large] - 3
        index, shift = _bit_places(width)
        values = bitstream.read(len(index)).astype(np.int16) << shift
        size[large] = (2**width + 1 + np.bincount(index, values, len(large))).astype(np.int16)
    return np.where(negative, -size, size)


_SYMBOLS = np.array(
    [size if size <= _EXACT else int(size - 1).bit_length() + 2 for size in range(256)], np.int32
)


def _bit_places(width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each raw bit, the highest of a number first: which number, and its place in it."""
    index = np.repeat(np.arange(len(width)), width)
    ends = np.cumsum(width, dtype=np.int64)
    return index, (ends[index] - 1 - np.arange(len(index))).astype(np.int16)


class _Bits:
    """Raw bits, read from the first on."""

    def __init__(self, data: bytes) -> None:
        self.bits, self.at = np.unpackbits(np.frombuffer(data, np.uint8)), 0

    def read(self, count: int) -> np.ndarray:
        self.at += count
        if self.at > len(self.bits):
            raise ValueError("the coded indices end early")
        return self.bits[self.at - count : self.at]

    def exhausted(self) -> bool:
        """Whether nothing is left but the zeros that fill the last byte."""
        return len(self.bits) - self.at < 8 and not self.bits[self.at :].any()
