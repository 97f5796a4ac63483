"""The clean maps of a training's images, made once and kept on disk in half precision.

Of the machine's memory only the file cache is used, as much of it as there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from detectron2_patch.codec.learned.network import CODED
from detectron2_patch.errors import InputError
from detectron2_patch.utils.files import atomic_write
from detectron2_patch.utils.progress import progress


@dataclass(frozen=True)
class View:
    """An image as the detector is shown it: its file, what tells it apart, left and right swapped
    or not."""

    path: Path
    key: str
    mirrored: bool = False

    @property
    def name(self) -> str:
        return f"{self.key}-mirrored" if self.mirrored else self.key


def views_of(paths: Sequence[Path], keys: Sequence[str], held_out: int, mirror: bool) -> list[View]:
    """Images to train on, then, where ``mirror`` says so, their mirror images, whose maps are no
    mirror images of the maps; last the ``held_out`` ones."""
    views = [View(*both) for both in zip(paths, keys, strict=True)]
    count = max(0, len(views) - held_out)
    mirrored = [replace(one, mirrored=True) for one in views[:count]] if mirror else []
    return [*views[:count], *mirrored, *views[count:]]


class CleanMaps:
    """P2 to P5 of images by number.

    Args:
        folder: where they are kept, one file a view, with the detector and its configuration.
        views: the images.
    """

    def __init__(self, folder: Path, views: Sequence[View]) -> None:
        self.views = list(views)
        self.paths = [Path(folder) / f"{one.name}.safetensors" for one in self.views]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Level to ``(C, H, W)``, float16."""
        return load_file(self.paths[number])

    def names(self) -> list[str]:
        """Of the files, which tell the images apart."""
        return [one.name for one in self.views]

    def cells(self, side: int) -> int:
        """Side of a crop in elements of P5: that of ``side`` pixels of the network's image, or of
        the smallest image, an even number.

        Raises:
            InputError: an image is smaller than two elements of P5.
        """
        sides = []
        for path in self.paths:
            with safe_open(path, "pt") as file:
                sides.append(min(file.get_slice("p5").get_shape()[1:]))
        cells = min(side // 32, min(sides) // 2 * 2)
        if cells < 2:
            raise InputError(
                "an image of the training is narrower than 64 pixels as the network sees it; "
                "leave it out, or raise INPUT.MIN_SIZE_TEST"
            )
        return cells

    def make(self, engine, workers: int) -> None:
        """Make those that aren't there yet; shows progress."""
        missing = [n for n in range(len(self)) if not self._is_whole(n)]
        inputs = engine.read_all([self.views[n].path for n in missing], workers)
        bar = progress(inputs, total=len(missing), unit="image", desc="clean maps")
        for number, one in zip(missing, bar):
            if self.views[number].mirrored:
                one = replace(one, tensor=one.tensor.flip(-1))
            maps = engine.pyramid(engine.batch([one]))
            tensors = {level: maps[level][0].half().contiguous().cpu() for level in CODED}
            with atomic_write(self.paths[number]) as file:
                file.write(save(tensors))

    def _is_whole(self, number: int) -> bool:
        try:
            return self.paths[number].is_file() and set(self[number]) == set(CODED)
        except SafetensorError:
            return False


def draw_crop(maps: dict[str, Tensor], cells: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A crop of ``cells`` by ``cells`` elements of P5 and what lies over it, float32."""
    height, width = maps["p5"].shape[-2:]
    top = int(torch.randint(height - cells + 1, (), generator=generator))
    left = int(torch.randint(width - cells + 1, (), generator=generator))
    cut = {}
    for level, scale in zip(CODED, (8, 4, 2, 1)):
        rows = slice(top * scale, (top + cells) * scale)
        columns = slice(left * scale, (left + cells) * scale)
        cut[level] = maps[level][:, rows, columns].float()
    return cut
