"""Part ``demo``: the shipped detector's AP beside the CPU's, and that no map leaves the device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gpu_parts.bench import Bench
from gpu_parts.detectors import demo_detector
from gpu_parts.images import scenes
from gpu_parts.project import (
    SCOPES,
    OnePass,
    Setting,
    all_settings,
    evaluate,
    make_plan,
    patched,
    with_ratios,
)
from gpu_parts.timing import is_cuda, timed
from gpu_parts.watch import copies_of_maps

GAP = 0.1  # AP


def run(bench: Bench) -> None:
    """Rows of the CPU and of the device, a GPU with and without TF32; checks of AP and copies."""
    dataset = scenes("val", bench.sizes.scenes)
    reference = _evaluated(bench, dataset, "cpu", torch.backends.cudnn.allow_tf32)
    for tf32 in (True, False) if is_cuda(bench.device) else (False,):
        found = _evaluated(bench, dataset, bench.device, tf32)
        gap = abs(found - reference)
        bench.check(f"AP within {GAP} of the CPU's, {_tf32(tf32)}", gap, gap <= GAP)
    engine = demo_detector(bench.device, bench.sizes.demo_opts)
    image = engine.read(dataset.image_path(dataset.images[0]))
    for what, count in copies(engine, image, bench.device).items():
        wanted = count > 0 if what == CODED else count == 0
        bench.check(f"copies of maps to the host, {what}", count, wanted)


def _evaluated(bench: Bench, dataset, device: str, tf32: bool) -> float:
    """A row of one evaluation of the clean pyramid; its AP."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        engine = demo_detector(device, bench.sizes.demo_opts)
        engine.detect(engine.read(dataset.image_path(dataset.images[0])))  # warms up
        seconds, done = timed(lambda: evaluate(engine, dataset), device)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    found = done.results["bbox"]
    bench.row(
        device=device,
        convolutions="float32" if device == "cpu" else _tf32(tf32),
        images=len(dataset.images),
        **{name: found[name] for name in ("AP", "APs", "APm", "APl")},
        images_a_second=len(dataset.images) / seconds,
    )
    return found["AP"]


def _tf32(on: bool) -> str:
    return "TF32" if on else "float32"


CODED = "bits, scope pyramid (the coder needs them: there have to be some)"


def copies(engine, image, device: str) -> dict[str, int]:
    """How many maps leave the device, for one image in each way of running it."""
    settings = all_settings((1.0, 2.0))

    def under(setting: Setting) -> Callable:
        def detect() -> None:
            with patched(engine, setting):
                engine.detect(image)

        return detect

    ways = {
        "clean": lambda: engine.detect(image),
        **{f"ratios, scope {scope}": under(with_ratios(scope)) for scope in SCOPES},
        f"{len(settings)} settings in one pass": lambda: OnePass(engine, make_plan(settings))(
            [image]
        ),
        CODED: under(Setting.parse("--bits 4")),
    }
    found = {}
    for what, detect in ways.items():
        with copies_of_maps(device) as watch:
            detect()
        found[what] = watch.count
    return found
