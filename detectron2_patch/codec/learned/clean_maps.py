"""The clean maps of a training's images, made once and kept on disk in half precision.

Of the machine's memory only the file cache is used, as much of it as there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from detectron2_patch.codec.learned.network import CODED
from detectron2_patch.utils.files import atomic_write
from detectron2_patch.utils.progress import progress


class CleanMaps:
    """P2 to P5 of images by number.

    Args:
        folder: where they are kept, one file an image, named by ``keys``.
        keys: what tells each image apart, with the detector and its configuration.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.paths = [Path(folder) / f"{key}.safetensors" for key in keys]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Level to ``(C, H, W)``, float16."""
        return load_file(self.paths[number])

    def make(self, engine, images: Sequence[Path], workers: int) -> None:
        """Make those that aren't there yet; shows progress."""
        missing = [n for n in range(len(self)) if not self._is_whole(n)]
        inputs = engine.read_all([images[n] for n in missing], workers)
        bar = progress(inputs, total=len(missing), unit="image", desc="clean maps")
        for number, one in zip(missing, bar):
            maps = engine.pyramid(engine.batch([one]))
            tensors = {level: maps[level][0].half().contiguous().cpu() for level in CODED}
            with atomic_write(self.paths[number]) as file:
                file.write(save(tensors))

    def _is_whole(self, number: int) -> bool:
        try:
            return self.paths[number].is_file() and set(self[number]) == set(CODED)
        except SafetensorError:
            return False


def draw_crop(maps: dict[str, Tensor], side: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A crop of ``side`` pixels of the network's image, on the grid of P5; float32.

    An image that is smaller is cut to multiples of 64 pixels, so that crops of a batch agree.
    """
    height, width = maps["p5"].shape[-2:]
    cells = min(side // 32, height // 2 * 2, width // 2 * 2)
    top = int(torch.randint(height - cells + 1, (), generator=generator))
    left = int(torch.randint(width - cells + 1, (), generator=generator))
    cut = {}
    for level, scale in zip(CODED, (8, 4, 2, 1)):
        rows = slice(top * scale, (top + cells) * scale)
        columns = slice(left * scale, (left + cells) * scale)
        cut[level] = maps[level][:, rows, columns].float()
    return cut
