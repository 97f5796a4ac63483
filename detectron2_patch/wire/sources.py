"""Which images are sent: a dataset's, a folder's, some files, or names as they come."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.data.images import told
from detectron2_patch.errors import InputError
from detectron2_patch.wire.manifest import content_digest


@dataclass(frozen=True)
class Source:
    """An image to be sent.

    Attributes:
        id: in its dataset, or a running number from 1.
        file_name: as the receiver is told.
        path: of the file.
        size: ``(height, width)`` that it has to have, where a dataset says so.
        digest: of the file, as ``Entry.source`` has it; None: not known.
    """

    id: int
    file_name: str
    path: Path
    size: tuple[int, int] | None = None
    digest: str | None = None


def of_dataset(dataset: CocoDataset) -> list[Source]:
    """All images of a dataset, in its order."""
    return [
        Source(
            image["id"],
            image["file_name"],
            dataset.image_path(image),
            (image["height"], image["width"]),
        )
        for image in dataset.images
    ]


def of_paths(names: Sequence[str]) -> list[Source]:
    """The files, and the pictures in the folders, that are named.

    Raises:
        InputError: one isn't there, is no picture or given twice, or a folder holds none.
    """
    paths = [path for name in names for path in _pictures(Path(name))]
    twice = [path for path, count in Counter(map(os.path.realpath, paths)).items() if count > 1]
    if twice:
        raise InputError(f"image {twice[0]} is given twice; give each once")
    return list(as_they_come(map(str, paths)))


def by_content(sources: Sequence[Source]) -> list[Source]:
    """The sources with their ``digest``, so that files of the same names are told apart.

    Raises:
        InputError: a file can't be read.
    """
    try:
        return [replace(one, digest=content_digest(one.path.read_bytes())) for one in sources]
    except OSError as error:
        raise InputError(f"cannot read image {error.filename}: {error.strerror}") from error


def as_they_come(names: Iterable[str]) -> Iterator[Source]:
    """A file of each name, once it is asked for; empty names are left out."""
    number = 0
    for name in names:
        name = name.rstrip("\r\n")
        if name:
            number += 1
            yield Source(number, name, Path(name))


def _pictures(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"no image or folder {path}; give one that is there")
        with told(path), Image.open(path):
            return [path]
    endings = Image.registered_extensions()
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in endings)
    if not found:
        raise InputError(f"folder {path} holds no picture; give one that does")
    return found
