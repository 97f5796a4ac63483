"""Bitstreams one after the other, as through a pipe.

Four bytes that say what it is, then frames: what kind a frame is (one byte), how long its JSON and
its bitstream are (two times four bytes), a CRC-32 of these nine bytes and the JSON, the JSON, the
bitstream (whose digest is in the JSON). The first frame is the header's, the last one ends it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from detectron2_patch.errors import InputError
from detectron2_patch.wire.manifest import Entry, Header, json_line, read_json

_MAGIC = b"\xd2S\x01"  # the last byte is the version
_HEAD = struct.Struct("<BII")
_SUM = struct.Struct("<I")
_HEADER, _IMAGE, _END = range(3)
_LONGEST_JSON = 2**20
_BLOCK = 2**20  # what is read at once: a length that is wrong takes no more memory than arrives
ENDED = "the stream ended in the middle; ask the sender for it again"
DAMAGED = "the stream is damaged, or not one of tools/send.py; ask for it again"


class StreamWriter:
    """Writes to a pipe or file; each image is flushed, so that it arrives at once.

    Args:
        file: binary.
        header: of all images.

    Attributes:
        images, nbytes: how many were written, and the bytes of their bitstreams.
        overhead: bytes of all else.
    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self.file, self.images, self.nbytes = file, 0, 0
        self.overhead = file.write(_MAGIC)
        self._frame(_HEADER, json_line(header.to_json()), b"")

    def write(self, entry: Entry, data: bytes) -> None:
        """One image."""
        self.images, self.nbytes = self.images + 1, self.nbytes + len(data)
        self._frame(_IMAGE, json_line(entry.to_json()), data)

    def close(self) -> None:
        """Say that this was all: a stream without it was cut."""
        self._frame(_END, b"", b"")

    def _frame(self, kind: int, text: bytes, data: bytes) -> None:
        head = _HEAD.pack(kind, len(text), len(data))
        for part in (head, _SUM.pack(zlib.crc32(text, zlib.crc32(head))), text, data):
            self.file.write(part)
        self.overhead += _HEAD.size + _SUM.size + len(text)
        self.file.flush()


class StreamReader:
    """Reads what a ``StreamWriter`` wrote, image by image, as they arrive.

    Raises:
        InputError: it is something else, of a later version, or damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        magic = self._read(len(_MAGIC))
        if magic[:2] != _MAGIC[:2]:
            raise InputError(DAMAGED)
        if magic != _MAGIC:
            raise InputError(
                f"the stream is of version {magic[2]}, and this program knows {_MAGIC[2]}; take a "
                "later one"
            )
        kind, text, data = self._frame()
        if kind != _HEADER or data:
            raise InputError(DAMAGED)
        self.header = Header.from_json(read_json(text))

    def __iter__(self) -> Iterator[tuple[Entry, bytes]]:
        """Entry and bitstream of each image.

        Raises:
            InputError: the stream was cut or altered.
        """
        while True:
            kind, text, data = self._frame()
            if kind == _END:
                return
            if kind != _IMAGE:
                raise InputError(DAMAGED)
            entry = Entry.from_json(read_json(text))
            entry.check(data)
            yield entry, data

    def _frame(self) -> tuple[int, bytes, bytes]:
        head = self._read(_HEAD.size)
        (wanted,) = _SUM.unpack(self._read(_SUM.size))
        kind, text_length, data_length = _HEAD.unpack(head)
        if text_length > _LONGEST_JSON:
            raise InputError(DAMAGED)
        text = self._read(text_length)
        if zlib.crc32(text, zlib.crc32(head)) != wanted:
            raise InputError(DAMAGED)
        return kind, text, self._read(data_length)

    def _read(self, length: int) -> bytes:
        parts = []
        while length:
            part = self.file.read(min(length, _BLOCK))
            if not part:
                raise InputError(ENDED)
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
