"""Numbers in as few bytes as they need."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, the top bit set where more follow."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number below 2**28 that starts at ``at``, and where it ends.

    Raises:
        ValueError: it has no end, or more bytes than it needs.
    """
    number = 0
    for index, byte in enumerate(data[at : at + 4]):
        number |= (byte & 127) << 7 * index
        if byte < 128:
            if not byte and index:
                break
            return number, at + index + 1
    raise ValueError("a number in it makes no sense")
