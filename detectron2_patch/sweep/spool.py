"""Detections under many settings on disk: each distinct one once, and who has it as bits.

A folder holds ``settings.json``, which settings the bits stand for, and a file a chunk of images,
each whole or absent. A chunk's bits are cut into groups of 64 settings that can be read alone, so
that neither writing nor reading ever holds all images or all settings.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detectron2_patch.errors import InputError
from detectron2_patch.evaluation.masks_keypoints import KEYPOINTS, SEGM, SHAPES
from detectron2_patch.utils.files import atomic_write

if TYPE_CHECKING:  # it imports torch, which the processes that compute AP do without
    from detectron2_patch.sweep.onepass import Detected

GROUP = 64  # settings in a group: the bits of a word
_SETTINGS = "settings.json"


class Spool:
    """The chunks of one sweep in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_settings(self) -> list[int]:
        """What ``write_settings`` wrote; nothing where there is no spool yet.

        Raises:
            InputError: it can't be read.
        """
        try:
            return json.loads((self.folder / _SETTINGS).read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot go on from {self.folder}: {error}; delete that folder to start afresh"
            ) from error

    def write_settings(self, numbers: Sequence[int]) -> None:
        """Begin: tell which of a sweep's settings the bits stand for, before the first chunk."""
        with atomic_write(self.folder / _SETTINGS) as file:
            file.write(json.dumps(list(numbers)).encode())

    def has(self, chunk: int) -> bool:
        """Whether a chunk is finished."""
        return self._path(chunk).exists()

    def write(
        self,
        chunk: int,
        image_ids: Sequence[int],
        found: Sequence[Detected],
        counts: np.ndarray,
    ) -> None:
        """Write a chunk: its images' detections, and what ``OnePass`` counted.

        Raises:
            InputError: the disk is full or the folder can't be written.
        """
        with atomic_write(self._path(chunk)) as file:
            file.write(encode(image_ids, found, counts))

    def read(self, chunk: int) -> np.lib.npyio.NpzFile:
        """The arrays of a chunk by name, each read when it is asked for; to be closed."""
        return np.load(self._path(chunk))

    def counts(self, chunk: int) -> np.ndarray:
        """The counts that a chunk was written with."""
        with self.read(chunk) as arrays:
            return arrays["sent"]

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:06}.npz"


def encode(image_ids: Sequence[int], found: Sequence[Detected], counts: np.ndarray) -> bytes:
    """The bytes of a chunk: a compressed npz."""
    arrays = {
        "image_ids": np.array(image_ids, dtype=np.int64),
        "counts": np.array([len(one.scores) for one in found], dtype=np.int64),
        "sent": counts,
        **{
            name: np.concatenate([getattr(one, name) for one in found])
            for name in ("boxes", "scores", "classes")
        },
    }
    for task in found[0].shapes:
        shapes = [shape for one in found for shape in one.shapes[task]]
        arrays.update(_encode_masks(shapes) if task == SEGM else {task: np.array(shapes)})
    members = np.concatenate([one.members for one in found])
    arrays.update(
        {group_name(g): np.ascontiguousarray(column) for g, column in enumerate(members.T)}
    )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # names, not options
    return buffer.getvalue()


def _encode_masks(masks: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Run-length codes, each distinct one once: ``mask_of`` says which one a detection has."""
    number: dict[tuple, int] = {}
    codes = [(*mask["size"], mask["counts"]) for mask in masks]
    mask_of = [number.setdefault(code, len(number)) for code in codes]
    data = b"".join(code for *_, code in number)
    return {
        "mask_of": np.array(mask_of, dtype=np.int32),
        "mask_sizes": np.array([size for *size, _ in number], dtype=np.int32).reshape(-1, 2),
        "mask_ends": np.cumsum([len(code) for *_, code in number], dtype=np.int64),
        "mask_data": np.frombuffer(data, dtype=np.uint8),
    }


def _decode_masks(chunk: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    data = chunk["mask_data"].tobytes()
    ends = chunk["mask_ends"].tolist()
    sizes = chunk["mask_sizes"].tolist()
    masks = [
        {"size": size, "counts": data[start:end]}
        for size, start, end in zip(sizes, [0, *ends], ends)
    ]
    return [masks[i] for i in chunk["mask_of"].tolist()]


def group_name(group: int) -> str:
    """The array of a chunk that holds the bits of settings ``64 group …``."""
    return f"members_{group}"


def by_image(chunk: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """The distinct detections of each image of a chunk, as ``CocoEvaluator`` takes them."""
    rows: dict[str, Any] = {name: chunk[name] for name in ("boxes", "scores", "classes")}
    if "mask_of" in chunk:
        rows[SHAPES[SEGM]] = _decode_masks(chunk)
    if KEYPOINTS in chunk:
        rows[SHAPES[KEYPOINTS]] = chunk[KEYPOINTS]
    end = np.cumsum(chunk["counts"])
    for image_id, last, count in zip(chunk["image_ids"].tolist(), end, chunk["counts"]):
        part = slice(last - count, last)
        yield {"image_id": image_id, **{name: values[part] for name, values in rows.items()}}
