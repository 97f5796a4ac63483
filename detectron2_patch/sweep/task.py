"""What a sweep is asked to do, and how its images are cut into chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.data.coco import CocoDataset
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.machine import usable_cores

CHUNK = 16  # images that are written, and after a kill repeated, together

Describe = Callable[[Setting, Mapping[str, Any], Mapping[str, Any], float], dict[str, Any]]


@dataclass
class Sweep:
    """What to sweep.

    Attributes:
        engine: runs the detector; see ``engines``.
        dataset: the images.
        settings: all that are asked for.
        describe: a setting, its metrics by task, payload and seconds to its whole result.
        folder: where the results go.
        batch_size: images of one padded size that go through the network together.
        processes: how many compute AP.
        readers: threads that read images ahead.
        overwrite: do settings again that have a result.
        fitted: what some treatments need.
        replicates: resamples of the images whose AP each result gets, too; see ``bootstrap``.
    """

    engine: Any
    dataset: CocoDataset
    settings: Sequence[Setting]
    describe: Describe
    folder: Path
    batch_size: int = 1
    processes: int = field(default_factory=usable_cores)
    readers: int = 1
    overwrite: bool = False
    fitted: Fitted | None = None
    replicates: int = 0

    def blank(self, setting: Setting) -> dict[str, Any]:
        """A setting's result before its evaluation: enough for its name and versions."""
        return self.describe(setting, {"bbox": {"AP": None}}, {}, 0.0)


def make_chunks(dataset: CocoDataset, batch_size: int) -> list[list[dict[str, Any]]]:
    """The images in chunks; when several go through the network together, alike sizes lie
    together."""
    images = dataset.images
    if batch_size > 1:
        images = sorted(images, key=lambda image: (image["height"], image["width"], image["id"]))
    size = max(CHUNK, batch_size)
    return [images[i : i + size] for i in range(0, len(images), size)]


def make_batches(inputs: Sequence[Any], size: int, divisor: int) -> Iterator[Sequence[Any]]:
    """Consecutive inputs, at most ``size``, that are padded alike: padding reaches the maps.

    The network pads sides to multiples of ``divisor``.
    """

    def padded(one) -> list[int]:
        return [-(-side // divisor) for side in one.tensor.shape[-2:]]

    start = 0
    for end in range(1, len(inputs) + 1):
        if (
            end == len(inputs)
            or end - start == size
            or padded(inputs[end]) != padded(inputs[start])
        ):
            yield inputs[start:end]
            start = end
