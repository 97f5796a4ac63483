"""What a setting costs the two sides of the wire, measured.

A sender of maps works the backbone and codes; a sender of a picture only codes, and its receiver
works the whole detector.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detectron2_patch.analysis.complexity import Work, measure, milliseconds
from detectron2_patch.analysis.costs import Cost
from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.transmission import receive_pyramid, send_pyramid
from detectron2_patch.data.images import read_image
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.machine import usable_cores

Side = tuple[Work, float]  # of all of it, and milliseconds of coding


@torch.inference_mode()
def cost_of(engine, setting: Setting, paths: Sequence[Path], fitted: Fitted | None = None) -> Cost:
    """``sender`` and ``receiver``, each with medians over some images.

    ``macs_per_pixel`` of the image as it is stored, ``milliseconds``, of them
    ``coding_milliseconds``, and ``memory_bytes`` at the peak above the weights (None where the
    system doesn't tell). What a codec of images or video does is in the milliseconds alone.
    """
    sides = _image_sides if setting.image else _map_sides
    found = [sides(engine, setting, path, fitted) for path in paths]
    return {
        name: _medians([one[at] for one in found]) for at, name in enumerate(("sender", "receiver"))
    }


def _medians(works: Sequence[Side]) -> Cost:
    memory = [work.memory for work, _ in works]
    return {
        "macs_per_pixel": statistics.median(work.macs for work, _ in works),
        "milliseconds": statistics.median(work.milliseconds for work, _ in works),
        "coding_milliseconds": statistics.median(coding for _, coding in works),
        "memory_bytes": None if None in memory else statistics.median(memory),  # type: ignore[type-var]
    }


def _image_sides(engine, setting: Setting, path: Path, fitted) -> tuple[Side, Side]:
    codec, pixels = setting.image, read_image(path, "RGB")
    assert codec is not None
    area = pixels.shape[0] * pixels.shape[1]
    data, sender = measure(lambda: codec.encode(pixels), area, 1)
    _, receiver = measure(lambda: engine.detect(engine.from_pixels(codec.decode(data))), area, 1)
    decoding = milliseconds(lambda: codec.decode(data), 1)
    return (sender, sender.milliseconds), (receiver, decoding)


def _map_sides(engine, setting: Setting, path: Path, fitted) -> tuple[Side, Side]:
    image, treatments, levels = engine.read(path), setting.by_level(), setting.levels
    area = image.image_size[0] * image.image_size[1]
    padded = tuple(engine.batch([image]).tensor.shape[-2:])

    def make() -> dict:
        return {level: maps[0] for level, maps in engine.pyramid(engine.batch([image])).items()}

    def encode(maps) -> bytes:
        return send_pyramid(maps, treatments, padded, fitted, levels)

    def decode() -> dict:
        return receive_pyramid(data, treatments, fitted, engine.model.device, levels=levels)

    def detect():
        named = {engine.names.get(level, level): one for level, one in decode().items()}
        with _giving(engine.model.backbone, named):
            return engine.detect(image)

    data, sender = measure(lambda: encode(make()), area, 1)
    _, receiver = measure(detect, area, 1)
    maps = make()
    return (
        (sender, milliseconds(lambda: encode(maps), 1)),
        (receiver, milliseconds(decode, 1)),
    )


@contextmanager
def _giving(backbone, maps: Mapping[str, Tensor]) -> Iterator[None]:
    """Let a backbone give these maps ``(C, H, W)`` without any work, as where only heads are."""
    backbone.forward = lambda _: {level: one[None] for level, one in maps.items()}
    try:
        yield
    finally:
        del backbone.forward  # the class has its own


def machine() -> dict[str, Any]:
    """Where figures of time were taken: processor, cores, threads, torch."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
