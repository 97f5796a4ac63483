"""Photographs read and resized as detectron2 does it, so that the network sees the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from detectron2_patch.errors import InputError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def read_image(path: str | Path, channels: str = "BGR") -> np.ndarray:
    """Read an image as uint8 ``(H, W, 3)``, turned upright by its EXIF tag.

    Grey and CMYK photographs become colour. ``channels`` is ``BGR`` or ``RGB``.

    Raises:
        InputError: the file is missing or isn't a whole image.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read image {path}: {reason}; restore the file") from error
    return pixels[:, :, ::-1] if channels == "BGR" else pixels


def network_size(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """``(height, width)`` after the shorter side becomes ``shortest``, the longer at most
    ``longest``. A ``shortest`` of 0 leaves the size alone. Rounds by ``int(x + 0.5)``."""
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
    return int(new_height + 0.5), int(new_width + 0.5)


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
