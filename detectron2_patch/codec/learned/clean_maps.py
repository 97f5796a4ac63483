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

from detectron2_patch.codec.fitted import map_config
from detectron2_patch.codec.learned.network import check_coded
from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import LEVELS, span, subsampled, wire_levels
from detectron2_patch.utils import distributed
from detectron2_patch.utils.files import atomic_write
from detectron2_patch.utils.progress import progress

CONFIG = "config.txt"  # beside the maps: the digest of what they were made by


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
    """The maps of images by number.

    Args:
        folder: where they are kept, one file a view; each detector has one of its own.
        views: the images.
        levels: the detector's, finest first; a subsample of another isn't kept.
    """

    def __init__(self, folder: Path, views: Sequence[View], levels: Sequence[str] = LEVELS) -> None:
        self.views, self.levels = list(views), wire_levels(levels)
        # with an even number of elements, what is subsampled lies on the whole image's grid
        self._unit = 1 if subsampled(levels) is None else 2
        self.folder = Path(folder)
        self.paths = [self.folder / f"{one.name}.safetensors" for one in self.views]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """Level to ``(C, H, W)``, float16."""
        return load_file(self.paths[number])

    def channels(self) -> int:
        """Of a level.

        Raises:
            InputError: the levels differ in it.
        """
        found = {level: len(one) for level, one in self[0].items()}
        if len(set(found.values())) > 1:
            raise InputError(
                f"a learned codec needs levels of as many channels, and these have {found}; code "
                "the levels one by one"
            )
        return found[self.levels[0]]

    def names(self) -> list[str]:
        """Of the files, which tell the images apart."""
        return [one.name for one in self.views]

    @property
    def least(self) -> int:
        """The smallest side of a crop, in pixels of the network's image."""
        return self._unit * 2 ** int(self.levels[-1][1:])

    def check(self, side: int) -> None:
        """Make sure that a codec of these levels can be trained on crops of ``side`` pixels.

        Raises:
            InputError: it can't.
        """
        check_coded(self.levels)
        if side < self.least:
            raise InputError(
                f"the recipe's crop is {side} pixels; for {span(self.levels)} give {self.least} "
                "or more"
            )

    def cells(self, side: int) -> int:
        """Side of a crop in elements of the coarsest level: that of ``side`` pixels of the
        network's image, or of the smallest image.

        Raises:
            InputError: ``side``, or an image, is smaller than a crop has to be.
        """
        self.check(side)
        sides, least = [side], self.least
        for path in self.paths:
            with safe_open(path, "pt") as file:
                for level in self.levels:
                    shape = file.get_slice(level).get_shape()[1:]
                    sides.append(min(shape) * 2 ** int(level[1:]))
        cells = min(sides) // least * self._unit
        if not cells:
            raise InputError(
                f"an image of the training is narrower than {least} pixels as the network sees "
                "it; leave it out, or raise INPUT.MIN_SIZE_TEST"
            )
        return cells

    def make(self, engine, workers: int, resumed: bool = False) -> None:
        """Make those that aren't there yet, by this configuration, each process its share; shows
        progress.

        Args:
            resumed: whether a training goes on that has seen those that are there.

        Raises:
            InputError: it has seen those of another configuration.
        """
        self._keep_to(map_config(engine.cfg), resumed)
        missing = distributed.share_left(range(len(self)), self._is_whole)
        inputs = engine.read_all([self.views[n].path for n in missing], workers)
        bar = progress(inputs, total=len(missing), unit="image", desc="clean maps")
        for number, one in zip(missing, bar):
            if self.views[number].mirrored:
                one = replace(one, tensor=one.tensor.flip(-1))
            maps = engine.pyramid(engine.batch([one]))
            tensors = {level: maps[level][0].half().contiguous().cpu() for level in self.levels}
            with atomic_write(self.paths[number]) as file:
                file.write(save(tensors))
        distributed.barrier()

    def _keep_to(self, config: str, resumed: bool) -> None:
        path = self.folder / CONFIG
        if path.is_file() and path.read_text() != config:
            if resumed:
                raise InputError(
                    f"--resume: the maps in {self.folder} were made with another INPUT or "
                    "backbone configuration; give that one, or start anew in another folder"
                )
            if distributed.rank() == 0:
                for old in self.folder.glob("*.safetensors"):
                    old.unlink()
        if distributed.rank() == 0:
            with atomic_write(path) as file:
                file.write(config.encode())
        distributed.barrier()

    def _is_whole(self, number: int) -> bool:
        try:
            return self.paths[number].is_file() and set(self[number]) == set(self.levels)
        except SafetensorError:
            return False


def draw_crop(maps: dict[str, Tensor], cells: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A crop of ``cells`` by ``cells`` elements of the coarsest level and what lies over it,
    float32."""
    coarsest = max(maps)
    height, width = (
        min(x.shape[axis] >> int(coarsest[1:]) - int(level[1:]) for level, x in maps.items())
        for axis in (-2, -1)
    )
    top = int(torch.randint(height - cells + 1, (), generator=generator))
    left = int(torch.randint(width - cells + 1, (), generator=generator))
    cut = {}
    for level in sorted(maps):
        scale = 2 ** (int(coarsest[1:]) - int(level[1:]))
        rows = slice(top * scale, (top + cells) * scale)
        columns = slice(left * scale, (left + cells) * scale)
        cut[level] = maps[level][:, rows, columns].float()
    return cut
