#!/usr/bin/env python3
"""What coding the maps costs and gives: milliseconds an image beside the detector, bytes, quality.

For the demo's detector on its validation scenes, all of P2 to P5 sent. `klt` is the projection on
the principal directions of training scenes, with one range for all of them. Bits an element and
the signal-to-noise ratio (variance of the maps over mean squared error, P2 to P5 together) are of
the decoded maps.

`--coders` is instead, of P2 to P5 in 32 components at 5 bits, each coder of the same indices, one
beside the other, and, with `--fitted`, what an evaluation takes beside a clean one. `benchmarks/
coders.py` has what other libraries make of such indices.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from detectron2_patch.codec import entropy
from detectron2_patch.codec.bitstream import coded, decode, encode, sent_range
from detectron2_patch.codec.fitted import Fitted, read_fitted
from detectron2_patch.codec.quantise import quantise
from detectron2_patch.config import load_cfg
from detectron2_patch.data.catalog import load_dataset
from detectron2_patch.demo import WEIGHTS
from detectron2_patch.engines.torchvision import TorchvisionEngine
from detectron2_patch.patch import patch_pyramid
from detectron2_patch.pipeline import images_at_a_time
from detectron2_patch.settings.setting import Setting
from detectron2_patch.utils.machine import usable_cores
from detectron2_patch.utils.overlap import overlapped
from detectron2_patch.utils.sampling import evenly

ROOT = Path(__file__).resolve().parent.parent
LEVELS = ("p2", "p3", "p4", "p5")
PAIRS = 7  # of a clean evaluation and a coded one
SETTINGS = [(bits, kind, False) for bits in (2, 3, 4) for kind in ("level", "channel")] + [
    (bits, "level", True) for bits in (3, 4, 5, 6, 7)
]


class Basis(NamedTuple):
    """Principal directions of a level's channels, strongest first, and the channels' means."""

    mean: Tensor  # (C, 1)
    directions: Tensor  # (C, C), one a column

    def project(self, x: Tensor) -> Tensor:
        return (self.directions.T @ (x.flatten(1) - self.mean)).reshape(x.shape)

    def restore(self, y: Tensor) -> Tensor:
        return (self.directions @ y.flatten(1) + self.mean).reshape(y.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8, help="validation scenes (8)")
    parser.add_argument("--training-images", type=int, default=20, help="for the bases (20)")
    parser.add_argument("--coders", action="store_true", help="of the same indices, beside another")
    parser.add_argument("--fitted", help="with --coders: the demo's, for the evaluation's share")
    args = parser.parse_args()
    engine = demo_engine()
    inputs, maps = pyramids(engine, "demo_val", args.images)
    bases = fit_bases(pyramids(engine, "demo_train", args.training_images)[1])
    if args.coders:
        fitted = None if args.fitted is None else read_fitted(args.fitted)
        print_coders(engine, inputs, maps, bases, fitted)
        return
    detector = milliseconds(lambda image: engine.detect(image), inputs)
    print(
        f"{args.images} scenes, {torch.get_num_threads()} threads; the detector takes "
        f"{detector:.0f} ms an image"
    )
    print(
        "bits range    basis  bits/element  times fp32  SNR dB  ms encode  ms decode  "
        + "  ".join(f"{level} bytes" for level in LEVELS)
    )
    for bits, kind, klt in SETTINGS:
        print_setting(bits, kind, bases if klt else None, maps)


def print_setting(
    bits: int, kind: str, bases: dict[str, Basis] | None, maps: list[dict[str, Tensor]]
) -> None:
    """One line of the table."""
    sent = [
        {level: bases[level].project(x) if bases else x for level, x in one.items()} for one in maps
    ]
    streams = [{level: encode(x, bits, kind) for level, x in one.items()} for one in sent]
    error = signal = elements = 0.0
    for one, projected in zip(maps, sent):
        for level, x in one.items():
            values, _ = coded(projected[level], bits, kind)
            values = bases[level].restore(values) if bases else values
            error += (values - x).square().sum().item()
            signal += (x - x.mean()).square().sum().item()
            elements += x.numel()
    size = {level: statistics.mean(len(one[level]) for one in streams) for level in LEVELS}
    per_element = 8 * sum(size.values()) * len(maps) / elements
    encoding = milliseconds(lambda one: [encode(x, bits, kind) for x in one.values()], sent)
    decoding = milliseconds(lambda one: [decode(stream) for stream in one.values()], streams)
    print(
        f"{bits:4} {kind:8} {'klt' if bases else '-':5} {per_element:13.3f} "
        f"{32 / per_element:11.1f} {10 * math.log10(signal / error):7.1f} {encoding:10.0f} "
        f"{decoding:10.0f}  " + "  ".join(f"{size[level]:8.0f}" for level in LEVELS),
        flush=True,
    )


def print_coders(
    engine: TorchvisionEngine,
    inputs: list,
    maps: list[dict[str, Tensor]],
    bases: dict[str, Basis],
    fitted: Fitted | None,
) -> None:
    """A line for each coder, then one for the evaluation by the fastest, where there is a fit."""
    bits, rank = 5, 32
    sent = []
    for one in maps:
        projected = [bases[level].project(x)[:rank] for level, x in one.items()]
        sent.append([quantise(x, sent_range(x, False, bits)[0], bits).numpy() for x in projected])
    full = statistics.mean(4 * sum(x.numel() for x in one.values()) for one in maps)
    print(
        f"{len(maps)} scenes, {torch.get_num_threads()} threads, P2 to P5 in 32 components, 5 bits"
    )
    print("milliseconds of a processor, megabytes of the maps in fp32")
    print("coder     bytes  ms encode  ms decode  MB/s encode  MB/s decode")
    found = {}
    fast = entropy.compiled()
    coders = {"waves": (entropy.compress_by_waves, entropy.decompress_by_waves)}
    if fast is not None:
        coders["compiled"] = (fast.compress, fast.decompress)
    for name, (forth, back) in coders.items():
        streams = [[(forth(x, bits), x.shape) for x in one] for one in sent]
        found[name] = [[data for data, _ in one] for one in streams]
        encoding = processor_milliseconds(lambda one, f=forth: [f(x, bits) for x in one], sent)
        decoding = processor_milliseconds(
            lambda one, f=back: [f(data, s, bits) for data, s in one], streams
        )
        size = statistics.mean(sum(map(len, one)) for one in found[name])
        print(
            f"{name:9} {size:5.0f} {encoding:10.1f} {decoding:10.1f} "
            f"{full / encoding / 1000:12.0f} {full / decoding / 1000:12.0f}",
            flush=True,
        )
    assert all(one == found["waves"] for one in found.values()), "the coders differ"
    if fitted is not None:
        print_evaluation(engine, inputs, fitted)


def print_evaluation(engine: TorchvisionEngine, inputs: list, fitted: Fitted) -> None:
    """What an image takes in an evaluation, clean and coded."""
    clean = processor_milliseconds(engine.detect, inputs)
    setting = Setting.parse("--send p2 p3 p4 p5 --rank 32 --bits 5", fitted)
    with patch_pyramid(engine.model, setting, fitted=fitted):
        coded_too = processor_milliseconds(engine.detect, inputs)
    print(
        f"an evaluation takes {clean:.0f} ms of a processor an image clean, {coded_too:.0f} ms "
        f"coded: {coded_too / clean:.2f} times as much"
    )
    ratios = sorted(clock_ratio(engine, inputs, setting, fitted) for _ in range(PAIRS))
    print(
        f"by the clock, {usable_cores()} cores, {torch.get_num_threads()} threads: "
        f"{statistics.median(ratios):.2f} times as long ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def clock_ratio(engine: TorchvisionEngine, inputs: list, setting: Setting, fitted: Fitted) -> float:
    """How long the images take over real bytes, as an evaluation has them, beside clean."""
    start = time.perf_counter()
    for one in inputs:
        engine.detect(one)
    clean = time.perf_counter() - start
    with patch_pyramid(engine.model, setting, fitted=fitted) as patch:
        start = time.perf_counter()
        list(overlapped(engine.detect, inputs, images_at_a_time(engine, patch)))
    return (time.perf_counter() - start) / clean


def demo_engine() -> TorchvisionEngine:
    """The shipped detector on the CPU."""
    engine = TorchvisionEngine(load_cfg(ROOT / "configs" / "demo.yaml"), "cpu")
    engine.load_weights(WEIGHTS)
    return engine


def pyramids(
    engine: TorchvisionEngine, name: str, count: int, levels: tuple[str, ...] = LEVELS
) -> tuple[list, list[dict[str, Tensor]]]:
    """``count`` images spread over a dataset, and their maps ``(C, h, w)`` by level."""
    dataset = load_dataset(name)
    images = evenly(dataset.images, count)
    inputs = [engine.read(dataset.image_path(image)) for image in images]
    found = [engine.pyramid(engine.batch([image])) for image in inputs]
    return inputs, [{level: one[level][0].clone() for level in levels} for one in found]


def fit_bases(maps: list[dict[str, Tensor]]) -> dict[str, Basis]:
    """The principal directions of each level's channels over all places of all maps."""
    bases = {}
    for level in maps[0]:
        rows = torch.cat([one[level].flatten(1) for one in maps], dim=1).double()
        directions = torch.linalg.eigh(torch.cov(rows))[1].flip(1)
        bases[level] = Basis(rows.mean(1, keepdim=True).float(), directions.float())
    return bases


def milliseconds(task: Callable, items: list) -> float:
    """The median over ``items`` of what ``task`` takes, after one to warm up."""
    task(items[0])
    seconds = []
    for item in items:
        start = time.perf_counter()
        task(item)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def processor_milliseconds(task: Callable, items: list) -> float:
    """The median over ``items`` of the least processor time of seven, whatever else runs here."""
    task(items[0])
    found = []
    for item in items:
        seconds = []
        for _ in range(7):
            start = time.process_time()
            task(item)
            seconds.append(time.process_time() - start)
        found.append(min(seconds))
    return 1000 * statistics.median(found)


if __name__ == "__main__":
    main()
