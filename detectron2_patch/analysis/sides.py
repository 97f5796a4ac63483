"""What a setting costs the two sides of the wire, and the file that such figures are kept in.

A sender of maps works the backbone and codes; a sender of a picture only codes, and its receiver
works the whole detector.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detectron2_patch.analysis.complexity import Work, measure, milliseconds
from detectron2_patch.codec.fitted import Fitted
from detectron2_patch.codec.transmission import receive_pyramid, send_pyramid
from detectron2_patch.data.images import read_image
from detectron2_patch.errors import InputError
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.files import atomic_write
from detectron2_patch.utils.machine import usable_cores

KIND = "detectron2_patch costs"
Cost = dict[str, Any]
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
        with _giving(engine.model.backbone, decode()):
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


class Costs:
    """Costs by setting, as a file of ``tools/cost.py`` holds them.

    A cost doesn't depend on the scope: what crosses the wire is the same in both.
    """

    def __init__(self, conditions: Mapping[str, Any], costs: Iterable[tuple[Setting, Cost]] = ()):
        self.conditions = dict(conditions)
        self._costs = {_key(setting): cost for setting, cost in costs}

    def get(self, setting: Setting) -> Cost | None:
        return self._costs.get(_key(setting))

    def add(self, setting: Setting, cost: Cost) -> None:
        self._costs[_key(setting)] = cost

    def __len__(self) -> int:
        return len(self._costs)

    def write(self, path: str | os.PathLike) -> None:
        """Write the file, whole or not at all."""
        rows = [{"setting": one.to_json(), **cost} for one, cost in self._costs.items()]
        document = {"kind": KIND, "conditions": self.conditions, "costs": rows}
        with atomic_write(Path(path)) as file:
            file.write((json.dumps(document, indent=1) + "\n").encode())


def _key(setting: Setting) -> Setting:
    return Setting(setting.treatments, fitted=setting.fitted)


def read_costs(path: str | os.PathLike) -> Costs:
    """The costs of a file that ``tools/cost.py`` wrote.

    Raises:
        InputError: it can't be read or is no such file.
    """
    try:
        data = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise InputError(f"{path}: {reason}; give a file that tools/cost.py wrote") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InputError(f"{path} holds no costs; give a file that tools/cost.py wrote")
    try:
        rows = [
            (Setting.from_json(row["setting"]), {k: row[k] for k in ("sender", "receiver")})
            for row in data["costs"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); make it again by tools/cost.py") from error
    return Costs(data["conditions"], rows)


COSTS = ("macs_per_pixel", "milliseconds", "coding_milliseconds", "memory_bytes")
COLUMNS = ("MACs a pixel", "ms", "of it coding", "MiB")


def cost_cells(cost: Cost | None) -> list[str]:
    """The figures of sender and receiver, in the order of ``COLUMNS``, as people read them."""
    if cost is None:
        return ["-"] * 2 * len(COLUMNS)
    return [
        cell
        for side in (cost["sender"], cost["receiver"])
        for cell in (
            f"{side['macs_per_pixel']:,.0f}",
            f"{side['milliseconds']:.0f}",
            f"{side['coding_milliseconds']:.0f}",
            "-" if side["memory_bytes"] is None else f"{side['memory_bytes'] / 2**20:.0f}",
        )
    ]
