#!/usr/bin/env python3
"""What a learned codec costs: multiply-accumulates a pixel, CPU time an image, bytes of a file.

For the demo's detector on its validation scenes. A pixel is one of the image as it is stored.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from detectron2_patch.codec.learned.codec import LearnedCodec
from detectron2_patch.codec.learned.network import CODED
from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import load_dataset
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.torchvision import TorchvisionEngine

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codecs", nargs="+", help="files of tools/train_codec.py")
    parser.add_argument("--images", type=int, default=12, help="validation scenes (12)")
    args = parser.parse_args()
    engine = TorchvisionEngine(load_cfg(ROOT / "configs" / "demo.yaml"), "cpu")
    engine.load_weights(WEIGHTS)
    dataset = load_dataset("demo_val")
    chosen = dataset.images[: args.images]
    inputs = [engine.read(dataset.image_path(image)) for image in chosen]
    pixels = statistics.mean(image["height"] * image["width"] for image in chosen)
    maps = [{n: v[0] for n, v in engine.pyramid(engine.batch([x])).items()} for x in inputs]
    print(
        f"{len(inputs)} scenes, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; "
        f"the detector takes {milliseconds(engine.detect, inputs):.0f} CPU ms an image"
    )
    print(
        "file  MB  MAC/pixel sender  MAC/pixel receiver  CPU ms encode  CPU ms decode  "
        "bytes an image"
    )
    for path in args.codecs:
        print_codec(LearnedCodec.parse(path), maps, pixels)


def print_codec(codec: LearnedCodec, maps: list[dict[str, Tensor]], pixels: float) -> None:
    sizes = {level: tuple(maps[0][level].shape[-2:]) for level in CODED}
    coded = [codec.encode(one) for one in maps]
    sender = multiply_accumulates(lambda: codec.encode(maps[0])) / pixels
    receiver = multiply_accumulates(lambda: codec.decode(coded[0], sizes)) / pixels
    print(
        f"{Path(codec.path).name}  {codec.file.size / 1e6:.2f}  {sender:.0f}  {receiver:.0f}  "
        f"{milliseconds(codec.encode, maps):.0f}  "
        f"{milliseconds(lambda data: codec.decode(data, sizes), coded):.0f}  "
        f"{statistics.mean(map(len, coded)):.0f}"
    )


def multiply_accumulates(run: Callable) -> float:
    """Of all convolutions and matrix products in a call, the entropy model's integers included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


def milliseconds(run: Callable, inputs: list) -> float:
    """CPU time of all threads: the median over ``inputs``, after a first call that isn't counted.

    Unlike the time on the clock, it is little changed by who else uses the machine.
    """
    run(inputs[0])
    found = []
    for one in inputs:
        start = time.process_time()
        run(one)
        found.append(1000 * (time.process_time() - start))
    return statistics.median(found)


if __name__ == "__main__":
    main()
