"""Part ``speed``: images a second of the zoo's detectors, what ratios cost, and memory."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch

from detectron2_patch.engines.choice import build_engine, detectron2_problem
from detectron2_patch.pipeline import detect_dataset
from gpu_parts.bench import Bench
from gpu_parts.configs import R50, X101, zoo_cfg
from gpu_parts.data import the_photographs
from gpu_parts.detectors import random_detector
from gpu_parts.project import SCOPES, patched, with_ratios
from gpu_parts.timing import forget_peak, peak_mib, timed


def run(bench: Bench) -> None:
    """A row for each detector and engine."""
    dataset = the_photographs(bench.sizes)
    first = dataset.image_path(dataset.images[0])
    for name in (R50, X101):
        engine = random_detector(name, bench.sizes.opts, bench.device, first)
        measure(bench, name, engine, dataset)
        if detectron2_problem() is None:
            measure(bench, name, in_detectron2(engine, name, bench), dataset)


def in_detectron2(engine, name: str, bench: Bench):
    """detectron2's own model with the weights of ``engine``."""
    other = build_engine("detectron2", zoo_cfg(name, bench.sizes.opts), bench.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save({"model": engine.model.state_dict()}, path)
        other.load_weights(path)
    return other


@torch.inference_mode()
def forward(engine, image):
    """The model alone: no file is read, and boxes stay on the device."""
    if engine.name == "detectron2":
        height, width = image.image_size
        return engine.model([{"image": image.tensor, "height": height, "width": width}])
    return engine.model([image.tensor])


def measure(bench: Bench, name: str, engine, dataset) -> None:
    """One row. The ways of running an image are taken in turn: a slow moment hits all alike."""
    device = bench.device
    inputs = [engine.read(dataset.image_path(image)) for image in dataset.images]
    ways = {
        "clean": nullcontext,
        **{s: lambda s=s: patched(engine, with_ratios(s)) for s in SCOPES},
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    forward(engine, inputs[0])  # warms up
    forget_peak(device)
    for _ in range(bench.sizes.rounds):
        for image in inputs:
            for way, context in ways.items():
                with context():
                    seconds[way].append(
                        timed(lambda image=image: forward(engine, image), device)[0]
                    )
    peak = peak_mib(device)
    workers = engine.cfg.DATALOADER.NUM_WORKERS
    files, _ = timed(lambda: detect_dataset(engine, dataset, workers), device)
    median = {way: statistics.median(values) for way, values in seconds.items()}
    height, width = inputs[0].tensor.shape[-2:]
    bench.row(
        detector=name.removeprefix("faster_rcnn_").removesuffix("_3x"),
        engine=engine.name,
        network=f"{height}x{width}",
        forwards_a_second=1 / median["clean"],
        images_a_second=len(inputs) / files,
        ratios_rpn_percent=100 * (median["rpn"] / median["clean"] - 1),
        ratios_pyramid_percent=100 * (median["pyramid"] / median["clean"] - 1),
        peak_MiB=peak,
    )
