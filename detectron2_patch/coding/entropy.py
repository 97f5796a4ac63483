"""The lossless coder of a map's indices."""

from __future__ import annotations

import numpy as np
import zstandard


def compress(indices: np.ndarray, bits: int) -> bytes:
    """Indices, uint8 ``(C, h, w)`` below 2**bits, as bytes; the same bytes for the same indices."""
    return zstandard.ZstdCompressor(level=19, write_content_size=False).compress(
        np.ascontiguousarray(indices).tobytes())


def decompress(payload: bytes, shape: tuple[int, int, int], bits: int) -> np.ndarray:
    """The indices that ``compress`` was given.

    Raises:
        ValueError: ``payload`` isn't what ``compress`` made of indices of this shape and bits.
    """
    size = int(np.prod(shape))
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        raw = reader.decompress(payload)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(raw) != size or reader.unused_data or not reader.eof:
        raise ValueError("a payload of another length")
    indices = np.frombuffer(raw, np.uint8).reshape(shape)
    if indices.max() >> bits:
        raise ValueError("an index above the last step")
    return indices
