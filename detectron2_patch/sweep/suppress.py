"""Non-maximum suppression and the final cut, for many settings at once.

Settings are bits: row ``i`` of a ``(D, W)`` array of 64-bit words says which settings have
candidate ``i``. Greedy suppression then runs once over the candidates of all settings, each step
an AND or an OR of whole words, with each setting's outcome what it would be alone.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 512  # rows of the overlap matrix at a time


def pack(flags: np.ndarray) -> np.ndarray:
    """Booleans ``(D, S)`` as words ``(D, ceil(S / 64))``, setting ``s`` in bit ``s % 64``."""
    octets = np.packbits(flags, axis=1, bitorder="little")
    whole = np.zeros((len(octets), -(-flags.shape[1] // 64) * 8), dtype=np.uint8)
    whole[:, : octets.shape[1]] = octets
    return whole.view("<u8")


def unpack(words: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` settings of ``pack`` as booleans ``(D, count)``."""
    return np.unpackbits(words.view(np.uint8), axis=1, count=count, bitorder="little").view(bool)


def suppress(boxes: np.ndarray, members: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy suppression in every setting: a box goes if a kept one before it overlaps it more.

    Args:
        boxes: ``(D, 4)`` float32 of one class, by falling score.
        members: ``(D, W)``, which settings have which box.
        threshold: of the intersection over union.

    Returns:
        ``(D, W)``: which settings keep which box.
    """
    kept = members.copy()
    for start in range(0, len(boxes), _BLOCK):
        block = slice(start, start + _BLOCK)
        over = _overlap(boxes[block], boxes[start:]) > np.float64(threshold)  # as nms compares
        for i, row in enumerate(over):
            here = kept[start + i]
            if here.any():
                later = start + i + 1 + np.flatnonzero(row[i + 1 :])
                kept[later] &= ~here
    return kept


def _overlap(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union ``(n, m)``, in the order of operations of torchvision's ``nms``, so
    that a comparison falls on the same side."""
    area, other_area = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (some, others))
    width, height = (
        np.maximum(
            np.minimum(some[:, None, i + 2], others[:, i + 2])
            - np.maximum(some[:, None, i], others[:, i]),
            np.float32(0),
        )
        for i in (0, 1)
    )
    shared = width * height
    with np.errstate(invalid="ignore"):  # 0 / 0 of two empty boxes: NaN, which exceeds nothing
        return shared / (area[:, None] + other_area - shared)


def keep_best(members: np.ndarray, count: int, limit: int) -> np.ndarray:
    """The first ``limit`` candidates of each of ``count`` settings; ``members`` ``(D, W)`` is by
    falling score. A negative limit keeps all, as detectron2's does."""
    if limit < 0 or len(members) <= limit:
        return members
    flags = unpack(members, count)
    crowded = np.flatnonzero(flags.sum(axis=0, dtype=np.int32) > limit)
    if not len(crowded):
        return members
    flags = flags.copy()
    best = flags[:, crowded]
    flags[:, crowded] = best & (np.cumsum(best, axis=0, dtype=np.int32) <= limit)
    return pack(flags)
