#!/usr/bin/env python3
"""What each way to send costs either side, on the demo's detector.

A sender of maps works the backbone and codes; a sender of a picture only codes, and the receiver
works the whole detector. Multiply-accumulates are a pixel of the image as it is stored; what codecs
do is in the milliseconds alone. Medians over a few scenes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from coding import demo_engine
from tabulate import tabulate

from detectron2_patch.analysis.complexity import Work, measure, milliseconds
from detectron2_patch.codec.fitted import read_fitted
from detectron2_patch.codec.transmission import receive_pyramid, send_pyramid
from detectron2_patch.data.catalog import load_dataset
from detectron2_patch.data.images import read_image
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.machine import usable_cores
from detectron2_patch.utils.sampling import evenly

SETTINGS = [
    *(f"--image {w}" for w in ("jpeg:90", "webp:85", "avif:50", "jxl:2", "hevc:27", "av1:33")),
    "--send p2 p3 p4 p5 --bits 4",
    "--send p2 p3 p4 p5 --bits 3 --range channel",
    "--frames hevc:22",
]
FITTED = ["--send p2 p3 p4 p5 --rank 32 --bits 5"]
HEAD = ["", "bits per pixel", "MACs a pixel", "ms", "of it coding", "MiB"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("settings", nargs="*", metavar="SETTING", help="each as one word (a few of results/)")
    add("--images", type=int, default=4, help="validation scenes (4)")
    add("--fitted", metavar="FILE", help="fitted parts, made by tools/fit.py")
    add("--json", metavar="FILE", help="write the figures")
    args = parser.parse_args()
    fitted = None if args.fitted is None else read_fitted(args.fitted)
    words = args.settings or [*SETTINGS, *(FITTED if fitted else ())]
    engine, dataset = demo_engine(), load_dataset("demo_val")
    paths = [dataset.image_path(image) for image in evenly(dataset.images, args.images)]
    rows = []
    with torch.inference_mode():
        for line in words:
            rows.append(
                {"setting": line, **cost(engine, Setting.parse(line, fitted), paths, fitted)}
            )
    print(f"{len(paths)} scenes, {torch.get_num_threads()} threads of {usable_cores()} cores\n")
    print(as_table(rows))
    if args.json is not None:
        document = {"images": len(paths), "threads": torch.get_num_threads(), "rows": rows}
        Path(args.json).write_text(json.dumps(document, indent=1) + "\n")


def cost(engine, setting: Setting, paths: list[Path], fitted) -> dict[str, dict]:
    """Of each side the medians over the images, and the bits per pixel."""
    sides = image_sides if setting.image else map_sides
    found = [sides(engine, setting, path, fitted) for path in paths]
    total = {"bits_per_pixel": statistics.mean(bits for bits, _, _ in found)}
    for at, side in ((1, "sender"), (2, "receiver")):
        works, coding = zip(*(one[at] for one in found))
        memory = [work.memory for work in works]
        total[side] = {
            "macs_per_pixel": statistics.median(work.macs for work in works),
            "milliseconds": statistics.median(work.milliseconds for work in works),
            "coding_milliseconds": statistics.median(coding),
            "memory_bytes": None if None in memory else statistics.median(memory),
        }
    return total


Side = tuple[Work, float]  # of all of it, and milliseconds of coding


def image_sides(engine, setting: Setting, path: Path, fitted) -> tuple[float, Side, Side]:
    """Bits per pixel, sender and receiver of a picture."""
    codec, pixels = setting.image, read_image(path, "RGB")
    area = pixels.shape[0] * pixels.shape[1]
    data, sender = measure(lambda: codec.encode(pixels), area, 1)
    _, receiver = measure(lambda: engine.detect(engine.from_pixels(codec.decode(data))), area, 1)
    decoding = milliseconds(lambda: codec.decode(data), 1)
    return 8 * len(data) / area, (sender, sender.milliseconds), (receiver, decoding)


def map_sides(engine, setting: Setting, path: Path, fitted) -> tuple[float, Side, Side]:
    """Bits per pixel (what is sent once aside), sender and receiver of a pyramid."""
    image, model, treatments = engine.read(path), engine.model, setting.by_level()
    area = image.image_size[0] * image.image_size[1]
    batch = engine.batch([image])
    size = tuple(batch.tensor.shape[-2:])

    def send() -> bytes:
        maps = model.backbone(engine.batch([image]).tensor)
        return send_pyramid({k: x[0] for k, x in maps.items()}, treatments, size, fitted)

    def receive():
        maps = {k: x[None] for k, x in receive_pyramid(data, treatments, fitted).items()}
        proposals, _ = model.proposal_generator(batch, maps)
        return model.roi_heads(batch, maps, proposals)

    data, sender = measure(send, area, 1)
    _, receiver = measure(receive, area, 1)
    maps = {k: x[0] for k, x in model.backbone(batch.tensor).items()}
    encoding = milliseconds(lambda: send_pyramid(maps, treatments, size, fitted), 1)
    decoding = milliseconds(lambda: receive_pyramid(data, treatments, fitted), 1)
    return 8 * len(data) / area, (sender, encoding), (receiver, decoding)


def as_table(rows: list[dict]) -> str:
    """A row a setting: bits per pixel, then sender's and receiver's figures."""
    lines = []
    for row in rows:
        cells = [row["setting"], f"{row['bits_per_pixel']:.2f}"]
        for side in ("sender", "receiver"):
            one = row[side]
            memory = one["memory_bytes"]
            cells += [
                f"{one['macs_per_pixel']:,.0f}",
                f"{one['milliseconds']:.0f}",
                f"{one['coding_milliseconds']:.0f}",
                "-" if memory is None else f"{memory / 2**20:.0f}",
            ]
        lines.append(cells)
    head = [*HEAD[:2], *(f"{side}: {name}" for side in ("sender", "receiver") for name in HEAD[2:])]
    return tabulate(lines, headers=head, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
