"""Photographs read and resized as detectron2 does it, so that the network sees the same pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detectron2_patch.errors import InputError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
logger = logging.getLogger(__name__)
ORIENTATION = 0x0112  # EXIF's tag: how the stored pixels lie
_Turn = Image.Transpose
UPRIGHT: dict[Any, Image.Transpose] = {
    2: _Turn.FLIP_LEFT_RIGHT,
    3: _Turn.ROTATE_180,
    4: _Turn.FLIP_TOP_BOTTOM,
    5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270,
    7: _Turn.TRANSVERSE,
    8: _Turn.ROTATE_90,
}


def read_image(path: str | Path, channels: str = "BGR") -> np.ndarray:
    """Read an image as uint8 ``(H, W, 3)``, turned upright by its EXIF tag.

    Grey and CMYK photographs become colour. ``channels`` is ``BGR`` or ``RGB``.

    Raises:
        InputError: the file is missing, isn't a whole image, or has more than 8 bits a pixel in
            one channel, whose white Pillow doesn't know.
    """
    with told(path), Image.open(path) as image:
        check_depth(path, image)
        image.load()
        pixels = np.asarray(_upright(path, image).convert("RGB"))
    return pixels[:, :, ::-1] if channels == "BGR" else pixels


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Turn whatever an image file makes Pillow raise into one line about that file."""
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"image {path} has more than the {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels that "
            "Pillow opens; cut it into tiles or shrink it, or, if you trust it, set "
            "PIL.Image.MAX_IMAGE_PIXELS to more"
        ) from error
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # a damaged file raises whatever its bytes lead a decoder to
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"cannot read image {path}: {reason or type(error).__name__}; restore the file, or "
            "name another"
        ) from error


@contextmanager
def about(path: str | Path | None) -> Iterator[None]:
    """Name the image that an ``InputError`` of the block is about."""
    try:
        yield
    except InputError as error:
        raise error if path is None else InputError(f"image {path}: {error}") from error


def check_depth(path: str | Path, image: Image.Image) -> None:
    """Refuse a picture that Pillow would clip to white: one channel of 16 or 32 bits, or floats.

    (Colour of 16 bits a channel is scaled to 8 by Pillow itself.)
    """
    if image.mode == "F" or image.mode.startswith("I"):
        kind = "floats" if image.mode == "F" else "more than 8 bits a pixel"
        raise InputError(
            f"image {path} has {kind} (Pillow's mode {image.mode}), and which value is white is "
            "not known; scale it to 8 bits, 0 to 255, and save it so"
        )


def _upright(path: str | Path, image: Image.Image) -> Image.Image:
    """Turned by the EXIF tag as detectron2 does it; as it is where the tags can't be read."""
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception as error:  # cut, out of range, of another type: the picture is whole
        reason = " ".join(str(error).split()) or type(error).__name__
        _warn_once(
            f"image {path}: its EXIF tags can't be read ({reason}); such images are taken as "
            "they are stored, without rotation"
        )
        return image
    return image if turn is None else image.transpose(turn)


_warned: list[str] = []


def _warn_once(message: str) -> None:
    """The first of many alike."""
    if not _warned:
        _warned.append(message)
        logger.warning("%s", message)


def network_size(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """``(height, width)`` after the shorter side becomes ``shortest``, the longer at most
    ``longest``. A ``shortest`` of 0 leaves the size alone. Rounds by ``int(x + 0.5)``.

    Raises:
        InputError: a side becomes 0.
    """
    if shortest == 0:
        return size
    height, width = size
    scale = shortest / min(height, width)
    if height < width:
        new_height, new_width = float(shortest), scale * width
    else:
        new_height, new_width = scale * height, float(shortest)
    if max(new_height, new_width) > longest:
        scale = longest / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    found = int(new_height + 0.5), int(new_width + 0.5)
    if 0 in found:
        raise InputError(
            f"{width} x {height} pixels become {found[1]} x {found[0]} at the network's size; crop "
            "the image, or raise INPUT.MAX_SIZE_TEST (in training INPUT.MAX_SIZE_TRAIN) from "
            f"{longest}"
        )
    return found


def to_network(pixels: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Resize uint8 ``(H, W, 3)`` with Pillow's bilinear filter: float32 ``(3, h, w)``, 0 … 255."""
    if pixels.shape[:2] != size:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        pixels = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    return torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype("float32"))


def load_ahead(
    load: Callable[[Item], Loaded], items: Iterable[Item], workers: int, ahead: int = 8
) -> Iterator[Loaded]:
    """``map(load, items)`` in order, with up to ``ahead`` items loaded by threads beforehand.

    Threads do, for Pillow decodes and resizes outside Python's lock. Without workers it is
    ``map`` itself.
    """
    if workers == 0:
        yield from map(load, items)
        return
    items = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(load, item) for item in islice(items, ahead)]
        try:
            while pending:
                loaded = pending.pop(0).result()
                pending.extend(pool.submit(load, item) for item in islice(items, 1))
                yield loaded
        finally:
            for future in pending:
                future.cancel()
