"""The coder of ``entropy`` compiled by numba: the same bytes, many times as fast.

What ``entropy`` does a wave at a time, with arrays and constriction, is done here a value at a
time: its contexts, its counts, and constriction's range coder (words of 32 bits, a state of 64,
probabilities of 24). Floating-point numbers are added, multiplied and divided one by one, as NumPy
and constriction do it, so that the bytes are the same on every machine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np

from detectron2_patch.codec import entropy
from detectron2_patch.codec.varint import read_varint, varint

_ERRORS = (
    "",
    "the coded indices make no sense",
    "an index outside the steps",
    "the coded indices end early",
)
_NONSENSE, _OUTSIDE, _EARLY = 1, 2, 3
_LOWER, _RANGE, _POINT, _HELD, _HELD_WORD = range(5)  # of the coder's state
_AT, _RAW_AT, _TOTAL, _EPOCH, _START = range(5)  # of the positions
_CAP, _EXACT, _BINS, _SMALL = (
    entropy._CAP,
    entropy._EXACT,
    entropy._BINS,
    entropy._PARTS * entropy._LEANS,
)
_LEANS = entropy._LEANS
_SHIFT, _MASK, _MIDDLE = 5, 31, 15  # of two numbers in one, and what makes the lower one positive
_U32, _U24 = np.uint64(32), np.uint64(24)
_ONE, _ZERO, _LOW_WORD = np.uint64(1), np.uint64(0), np.uint64(2**32 - 1)


def compress(indices: np.ndarray, bits: int) -> bytes:
    """As ``entropy.compress``."""
    work, before, raw, words = _Work(bits), None, [], []
    for block in entropy._blocks(indices.shape):
        x = np.ascontiguousarray(indices[block], dtype=np.uint8)
        out = np.empty(x.size + int(work.coder[_HELD]) + 4, np.uint32)
        extra = np.empty(bits * x.size, np.uint8)
        before = work.block(False, x, before, out, extra)
        words.append(out[: work.at[_AT]])
        raw.append(extra[: work.at[_RAW_AT]])
        work.at[_AT] = work.at[_RAW_AT] = 0
    words.append(_seal(work.coder))
    coded = np.concatenate(words).astype("<u4").tobytes().rstrip(b"\0")
    packed = np.packbits(np.concatenate(raw)).tobytes()
    return varint(len(packed)) + packed + coded


def decompress(payload: bytes, shape: tuple[int, int, int], bits: int) -> np.ndarray:
    """As ``entropy.decompress``."""
    length, at = read_varint(payload, 0)
    if length > len(payload) - at:
        raise ValueError(_ERRORS[_EARLY])
    raw = np.unpackbits(np.frombuffer(payload[at : at + length], np.uint8))
    coded = payload[at + length :]
    words = np.frombuffer(coded + bytes(-len(coded) % 4), "<u4").astype(np.uint32)
    work, before, planes = _Work(bits), None, []
    work.coder[_POINT] = sum(int(word) << 32 * (1 - n) for n, word in enumerate(words[:2]))
    work.at[_AT] = 2
    for block in entropy._blocks(shape):
        x = np.empty((block.stop - block.start, *shape[1:]), np.uint8)
        before = work.block(True, x, before, words, raw)
        planes.append(x)
    left = raw[work.at[_RAW_AT] :]
    gap = (int(work.coder[_POINT]) - int(work.coder[_LOWER])) % 2**64
    if len(left) > 7 or left.any() or work.at[_AT] < len(words) or gap >= 2**33 - 1:
        raise ValueError("the coded indices go on where they should end")
    return np.concatenate(planes)


class _Counts(NamedTuple):
    """How often each symbol followed, of each context and of its parent, and what follows from it.

    ``changed`` is when a parent's counts did last; ``thought`` when what they make likely was
    reckoned, ``built`` when a context's row was.
    """

    prior: np.ndarray  # (symbols,) twice that of ``entropy``
    seen: np.ndarray  # (contexts, symbols)
    totals: np.ndarray  # (contexts,) of ``seen``
    parents: np.ndarray  # (parents, symbols)
    changed: np.ndarray  # (parents,)
    thought: np.ndarray  # (parents,)
    likely: np.ndarray  # (parents, symbols) 30 times the probability
    built: np.ndarray  # (contexts,)
    rows: np.ndarray  # (contexts, symbols + 1) uint32, cumulative


class _Work:
    """A stream in the making, or in the reading."""

    def __init__(self, bits: int) -> None:
        counts = entropy._Counts(bits)
        parents, bins, size = counts.seen.shape
        self.bits, self.largest = bits, counts.largest
        self.counts = _Counts(
            2 * counts.prior,
            np.zeros((parents * bins, size), np.int32),
            np.zeros(parents * bins, np.int32),
            np.zeros((parents, size), np.int32),
            np.zeros(parents, np.int64),
            np.full(parents, -1, np.int64),
            np.zeros((parents, size)),
            np.full(parents * bins, -1, np.int64),
            np.zeros((parents * bins, size + 1), np.uint32),
        )
        self.coder = np.array([0, 2**64 - 1, 0, 0, 0], np.uint64)
        self.at = np.zeros(5, np.int64)
        self.at[_START] = 2 ** (bits - 1)  # what stands for the first value's neighbours

    def block(self, decoding: bool, x: np.ndarray, before: Any, words: Any, raw: Any) -> np.ndarray:
        """Code a block ``(C, h, w)`` or, ``decoding``, fill it; returns how badly its last channel
        was predicted.

        Raises:
            ValueError: the bytes make no sense.
        """
        _, height, width = x.shape
        before = np.zeros((height, width), np.int16) if before is None else before
        after = np.empty((height, width), np.int16)
        error = _block(
            decoding, self.bits, self.largest, x.reshape(-1), x.shape, before.reshape(-1),
            after.reshape(-1), _known(height, width), self.coder, self.at, words, raw,
            entropy._LOCAL, entropy._FAR, entropy._SYMBOLS, *self.counts,
        )  # fmt: skip
        if error:
            raise ValueError(_ERRORS[error])
        self.at[_START] = x[-1, 0, 0]
        return after


@lru_cache(maxsize=8)
def _known(height: int, width: int) -> np.ndarray:
    """How many values of a channel lie in the waves before each."""
    waves = 2 * np.arange(height)[:, None] + np.arange(width)
    return np.append(0, np.cumsum(np.bincount(waves.ravel())))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _block(
    decoding, bits, largest, x, shape, before, after, known, coder, at, words, raw, local_bins,
    far_bins, symbol_of, prior, seen, totals, parents, changed, thought, likely, built, rows,
):  # fmt: skip
    channels, height, width = shape
    area = channels * height
    # Of the last four waves, by channel and row: an index and by how much it was missed, as one
    # number; and how badly its place was predicted. In the order of the work, so as to stay near.
    near, far = np.zeros(4 * area, np.int32), np.zeros(2 * area, np.int32)
    sums, fresh = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    coded = np.empty(len(x), np.int32)  # contexts and symbols since the probabilities changed
    room = np.empty(seen.shape[1], np.float32)
    pending = 0
    waves = 2 * (height - 1) + width + channels - 1
    for wave in range(waves):
        now, last, second, third = (
            (wave & 3) * area,
            (wave - 1 & 3) * area,
            (wave - 2 & 3) * area,
            (wave - 3 & 3) * area,
        )
        far_now, far_last = (wave & 1) * area, (wave - 1 & 1) * area
        for channel in range(max(0, wave - len(known) + 2), min(channels, wave + 1)):
            own = wave - channel
            sums[channel] += fresh[channel]
            fresh[channel] = 0
            mean = 64 * sums[channel] // max(known[own], 1)
            for y in range(max(0, (own - width + 2) // 2), min(height - 1, own // 2) + 1):
                column = own - 2 * y
                row, above_row = channel * height + y, channel * height + y - 1
                if y > 0 and 0 < column < width - 1:
                    left, above = near[last + row], near[second + above_row]
                    corner, right = near[third + above_row], near[last + above_row]
                elif own == 0:  # for its neighbours stands the first value of the channel before
                    start = at[_START] << _SHIFT | _MIDDLE
                    left = near[last + row - height] if channel else np.int32(start)
                    above = corner = right = left
                elif y == 0:
                    left = near[last + row]
                    above = corner = right = left
                else:  # at the left or right border, or both
                    above = near[second + above_row]
                    left = near[last + row] if column else above
                    corner = near[third + above_row] if column else above
                    right = near[last + above_row] if column < width - 1 else above
                place = channel * height * width + y * width + column
                past = far[far_last + row - height] if channel else np.int32(before[place])
                quarters = 2 * (left >> _SHIFT) + (above >> _SHIFT) + (right >> _SHIFT) + 2
                predicted = quarters >> 2
                context = _context(
                    left, above, corner, right, quarters & 3, past + mean, local_bins, far_bins
                )
                if built[context] < changed[context // _BINS]:
                    _build(
                        context, room, prior, seen, totals, parents, changed, thought, likely,
                        built, rows,
                    )  # fmt: skip
                if decoding:
                    symbol = _decode(coder, at, words, rows, context)
                    if symbol < 0:
                        return _NONSENSE
                    difference = _read_difference(symbol, largest, at, raw)
                    if difference > 255:
                        return _EARLY
                    value = predicted + difference
                    if value < 0 or value >> bits:
                        return _OUTSIDE
                    x[place] = value
                else:
                    value = np.int64(x[place])
                    difference = value - predicted
                    symbol = np.int64(symbol_of[abs(difference)])
                    _write_rest(abs(difference), symbol, at, raw)
                    if difference < 0:
                        symbol += largest
                    _encode(coder, at, words, rows, context, symbol)
                miss = min(max(difference, -_CAP), _CAP)
                near[now + row] = value << _SHIFT | (miss + _MIDDLE)
                past = past - (past >> 2) + 16 * abs(miss)
                far[far_now + row] = past
                if channel == channels - 1:
                    after[y * width + column] = past
                fresh[channel] += abs(miss)
                coded[pending] = context << _SHIFT | symbol
                pending += 1
        if pending >= 32 + at[_TOTAL] // 10 or (wave == waves - 1 and pending):
            _learn(coded[:pending], at, seen, totals, parents, changed)
            pending = 0
    return 0


@numba.njit(error_model="numpy", inline="always")
def _context(left, above, corner, right, part, far, local_bins, far_bins):
    x0, x1, x2, x3 = left >> _SHIFT, above >> _SHIFT, corner >> _SHIFT, right >> _SHIFT
    m0, m1 = (left & _MASK) - _MIDDLE, (above & _MASK) - _MIDDLE
    m2, m3 = (corner & _MASK) - _MIDDLE, (right & _MASK) - _MIDDLE
    unrest = abs(x0 - x2) + abs(x1 - x2) + abs(x1 - x3)
    unrest += abs(m0) + abs(m1) + ((abs(m2) + abs(m3)) >> 1)
    lean = m0 + m1
    small = part * _LEANS + (2 if lean > 0 else 0 if lean < 0 else 1)
    return (local_bins[unrest] * _SMALL + small) * _BINS + far_bins[far]


@numba.njit(error_model="numpy")
def _read_difference(symbol, largest, at, raw):
    """The difference of a symbol and the raw bits behind it; 256 where they end early."""
    size = symbol if symbol <= largest else symbol - largest
    if size > _EXACT:
        width = size - 3
        if at[_RAW_AT] + width > len(raw):
            return 256
        size = (1 << width) + 1
        for shift in range(width - 1, -1, -1):
            size += np.int64(raw[at[_RAW_AT]]) << shift
            at[_RAW_AT] += 1
    return size if symbol <= largest else -size


@numba.njit(error_model="numpy")
def _write_rest(size, symbol, at, raw):
    """The raw bits that tell apart the differences of one symbol, the highest first."""
    if size > _EXACT:
        width = symbol - 3
        rest = size - (1 << width) - 1
        for shift in range(width - 1, -1, -1):
            raw[at[_RAW_AT]] = rest >> shift & 1
            at[_RAW_AT] += 1


@numba.njit(error_model="numpy")
def _learn(coded, at, seen, totals, parents, changed):
    at[_EPOCH] += 1
    at[_TOTAL] += len(coded)
    for one in coded:
        context, symbol = one >> _SHIFT, one & _MASK
        parent = context // _BINS
        seen[context, symbol] += 1
        totals[context] += 1
        parents[parent, symbol] += 1
        changed[parent] = at[_EPOCH]


@numba.njit(error_model="numpy")
def _build(
    context, room, prior, seen, totals, parents, changed, thought, likely, built, rows
):  # fmt: skip
    """A context's cumulative probabilities, as constriction's fast categorical model has them."""
    parent, size = context // _BINS, len(room)
    built[context] = changed[parent]
    if thought[parent] < changed[parent]:
        thought[parent] = changed[parent]
        above = np.float64(2)
        for symbol in range(size):
            above += parents[parent, symbol]
        for symbol in range(size):
            likely[parent, symbol] = 30 * ((parents[parent, symbol] + prior[symbol]) / above)
    total = np.float64(totals[context] + 30)
    for symbol in range(size):
        room[symbol] = (seen[context, symbol] + likely[parent, symbol]) / total
    whole = np.float32(0)
    for symbol in range(size):
        whole += room[symbol]
    scale = np.float32((1 << 24) - size) / whole
    below = np.float32(0)
    for symbol in range(size):
        rows[context, symbol] = np.int64(below * scale) + symbol
        below += room[symbol]
    rows[context, size] = 1 << 24


@numba.njit(error_model="numpy")
def _encode(coder, at, words, rows, context, symbol):
    left, scale = np.uint64(rows[context, symbol]), coder[_RANGE] >> _U24
    lower = coder[_LOWER] + scale * left
    width = scale * (np.uint64(rows[context, symbol + 1]) - left)
    if coder[_HELD] and lower + width > lower:  # what was held back is decided
        carry = lower < coder[_LOWER]
        _release(coder, at, words, carry)
    coder[_LOWER] = lower
    if width >> _U32 == _ZERO:
        word = lower >> _U32
        lower = lower << _U32
        width = width << _U32
        coder[_LOWER] = lower
        if coder[_HELD]:
            coder[_HELD] += _ONE
        elif lower + width > lower:
            words[at[_AT]] = word
            at[_AT] += 1
        else:  # the range crosses a boundary: whether the word is one more isn't known yet
            coder[_HELD] = _ONE
            coder[_HELD_WORD] = word
    coder[_RANGE] = width


@numba.njit(error_model="numpy")
def _release(coder, at, words, carry):
    words[at[_AT]] = (coder[_HELD_WORD] + (_ONE if carry else _ZERO)) & _LOW_WORD
    at[_AT] += 1
    for _ in range(np.int64(coder[_HELD]) - 1):
        words[at[_AT]] = _ZERO if carry else _LOW_WORD
        at[_AT] += 1
    coder[_HELD] = _ZERO


def _seal(coder: np.ndarray) -> np.ndarray:
    """The last words."""
    lower, width, held, word = (int(coder[part]) for part in (_LOWER, _RANGE, _HELD, _HELD_WORD))
    point = (lower + 2**32 - 1) % 2**64
    words = []
    if held:
        carry = point < lower
        words = [(word + carry) % 2**32, *[0 if carry else 2**32 - 1] * (held - 1)]
    words.append(point >> 32)
    if (lower + width) % 2**64 >> 32 == point >> 32:
        words.append(0)
    return np.array(words, np.uint32)


@numba.njit(error_model="numpy")
def _decode(coder, at, words, rows, context):
    """The next symbol; -1 where there can be none."""
    scale, beyond = coder[_RANGE] >> _U24, coder[_POINT] - coder[_LOWER]
    if beyond >= scale << _U24:
        return -1
    symbol = 0
    while scale * np.uint64(rows[context, symbol + 1]) <= beyond:
        symbol += 1
    left = np.uint64(rows[context, symbol])
    coder[_LOWER] += scale * left
    width = scale * (np.uint64(rows[context, symbol + 1]) - left)
    if width >> _U32 == _ZERO:
        coder[_LOWER] = coder[_LOWER] << _U32
        width = width << _U32
        coder[_POINT] = coder[_POINT] << _U32
        if at[_AT] < len(words):
            coder[_POINT] |= np.uint64(words[at[_AT]])
        at[_AT] += 1
    coder[_RANGE] = width
    return symbol
