"""Bitstreams in a folder: a file an image below ``streams``, and ``manifest.jsonl``.

An image's line is added to the manifest once its file is there, whole. So a sender that was killed
leaves whole bitstreams, and goes on where it was; a line that it left unfinished is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import atomic_write
from detectron2_patch.wire.manifest import (
    NO_MANIFEST,
    Entry,
    Header,
    json_line,
    read_json,
)

MANIFEST, STREAMS = "manifest.jsonl", "streams"


class FolderWriter:
    """Writes bitstreams to a folder, new or begun by the same command.

    Args:
        folder: made where it is missing.
        header: of all images.

    Attributes:
        entries: of the bitstreams that are there.

    Raises:
        InputError: the folder can't be written, or holds bitstreams of something else.
    """

    def __init__(self, folder: str | os.PathLike, header: Header) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        self.entries = self._begun(path, header) if path.exists() else []
        _remove_halves(self.folder)
        lines = [header.to_json(), *(one.to_json() for one in self.entries)]
        with atomic_write(path) as file:  # without a line that was left unfinished
            file.write(b"".join(json_line(line) + b"\n" for line in lines))
        with _told(path):
            self._manifest = open(path, "ab")

    def _begun(self, path: Path, header: Header) -> list[Entry]:
        """The entries of before, up to the first whose bitstream is no longer there."""
        found, entries = _read_manifest(path)
        if found != header:
            raise InputError(
                f"{self.folder} holds bitstreams of another setting, model or dataset; choose "
                "another folder, or remove it"
            )
        there = (stream_path(self.folder, number) for number in range(len(entries)))
        return [
            entry for entry, path in takewhile(lambda one: _is_whole(*one), zip(entries, there))
        ]

    def write(self, entry: Entry, data: bytes) -> None:
        """Add an image's bitstream, then its line.

        Raises:
            InputError: no room, or no permission.
        """
        with atomic_write(stream_path(self.folder, len(self.entries))) as file:
            file.write(data)
        self.entries.append(entry)
        with _told(self.folder):
            self._manifest.write(json_line(entry.to_json()) + b"\n")
            self._manifest.flush()

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self.entries)

    @property
    def nbytes(self) -> int:
        """Of all bitstreams."""
        return sum(entry.nbytes for entry in self.entries)

    @property
    def overhead(self) -> int:
        """Bytes of the manifest."""
        return self._manifest.tell()

    def close(self) -> None:
        """Nothing more is added."""
        self._manifest.flush()


def _remove_halves(folder: Path) -> None:
    """Remove what a sender was writing when it was killed; see ``atomic_write``."""
    for path in [*folder.glob(f".{MANIFEST}.*"), *folder.glob(f"{STREAMS}/.*.bin.*")]:
        path.unlink(missing_ok=True)


class FolderReader:
    """Reads what a ``FolderWriter`` wrote.

    Raises:
        InputError: there is no manifest, or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self.header, self.entries = _read_manifest(self.folder / MANIFEST)

    def __iter__(self) -> Iterator[tuple[Entry, bytes]]:
        """Entry and bitstream of each image.

        Raises:
            InputError: a bitstream is missing, or isn't the one that was sent.
        """
        for number, entry in enumerate(self.entries):
            path = stream_path(self.folder, number)
            try:
                data = path.read_bytes()  # as long as it is, whatever its entry says
            except OSError as error:
                raise InputError(
                    f"cannot read {path}: {error.strerror}; ask for it again"
                ) from error
            entry.check(data)
            yield entry, data


def stream_path(folder: Path, number: int) -> Path:
    """The file of the bitstream of the image that is ``number`` in the manifest, from 0."""
    return folder / STREAMS / f"{number + 1:08}.bin"


def _is_whole(entry: Entry, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == entry.nbytes


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; choose a folder that can be written and has "
            "space"
        ) from error


def _read_manifest(path: Path) -> tuple[Header, list[Entry]]:
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; give a folder that tools/send.py made"
        ) from error
    lines = whole.split(b"\n")[:-1]  # what follows the last line's end was left unfinished
    if not lines:
        raise InputError(f"{path}: {NO_MANIFEST}")
    try:
        header = Header.from_json(read_json(lines[0]))
        return header, [Entry.from_json(read_json(line)) for line in lines[1:]]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
