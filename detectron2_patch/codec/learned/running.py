"""A training from its first iteration, or its last checkpoint, to the files of all its rates."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detectron2_patch.codec.learned.file import write_codec
from detectron2_patch.codec.learned.integer_model import IntegerModel, quantise
from detectron2_patch.codec.learned.latent_coder import Counts, LatentCoder
from detectron2_patch.codec.learned.training import Training
from detectron2_patch.utils import distributed
from detectron2_patch.utils.files import add_line
from detectron2_patch.utils.progress import progress

logger = logging.getLogger(__name__)
CHECKPOINT, METRICS = "checkpoint.pt", "metrics.json"
_COUNTED = 200  # images whose latents the tables of counts are made from
_COUNTED_WATCHING = 20
_WINDOW = 20  # iterations between two lines of the metrics


def run(
    training: Training,
    folder: Path,
    meta: Mapping[str, Any],
    finished: Callable[[Path], None] = lambda path: None,
) -> list[Path]:
    """Train with noise, then each rate, and write the codecs' files to ``folder``.

    Args:
        training: new, or loaded from a checkpoint.
        folder: also of the checkpoint and of the metrics, a line of JSON each.
        meta: of the files, see ``file.CodecFile``.
        finished: called in every process with each file once it is written.
    """
    rates = len(training.recipe.lambdas)
    while True:
        _train(training, folder)
        if training.rate:
            path = codec_path(folder, training)
            if distributed.rank() == 0:
                told = {**meta, **_told(training)}
                write_codec(path, training.average, tables(training, _COUNTED), told)
                logger.info("wrote %s", path)
            distributed.barrier()
            finished(path)
        if training.rate == rates:
            return [codec_path(folder, training, rate) for rate in range(1, rates + 1)]
        training.start_rate(training.rate + 1)
        _save(training, folder)


def codec_path(folder: Path, training: Training, rate: int | None = None) -> Path:
    """The file of a rate, of the one in training if none is given."""
    return folder / f"codec_{rate or training.rate}.safetensors"


def _told(training: Training) -> dict[str, Any]:
    recipe = training.recipe
    so_far = list(recipe.lambdas[: training.rate])  # rates that are added later change no file
    return {
        "recipe": recipe.to_json() | {"lambdas": so_far},
        "lambda": training.distance_weight,
        "dead_zone": recipe.dead_zone,
        "seed": training.seed,
    }


def _train(training: Training, folder: Path) -> None:
    """Bring one rate to its end."""
    recipe, start = training.recipe, time.perf_counter()
    sums: dict[str, float] = {}
    left = range(training.iteration, training.iterations)
    what = f"rate {training.rate} of {len(recipe.lambdas)}" if training.rate else "with noise"
    first = distributed.rank() == 0
    bar = progress(
        left, desc=what, unit="it", initial=left.start, total=left.stop, disable=not first
    )
    for _ in bar:
        for name, value in training.step().items():
            sums[name] = sums.get(name, 0.0) + value / _WINDOW
        if training.iteration % _WINDOW == 0:
            seconds = time.perf_counter() - start
            _note(training, folder, {**sums, "seconds": seconds / _WINDOW})
            bar.set_postfix(loss=f"{sums['loss']:.3f}")
            sums, start = {}, time.perf_counter()
        last = training.iteration == training.iterations
        if training.iteration % recipe.watch_every == 0 or last:
            _save(training, folder)
            if first:
                _note(training, folder, {"held_out": watch(training)})
            start = time.perf_counter()


def _save(training: Training, folder: Path) -> None:
    if distributed.rank() == 0:
        training.save(folder / CHECKPOINT)


def _note(training: Training, folder: Path, values: Mapping[str, Any]) -> None:
    if distributed.rank() > 0:
        return
    line = {"rate": training.rate, "iteration": training.iteration, **values}
    add_line(folder / METRICS, json.dumps(line))


def watch(training: Training) -> dict[str, float]:
    """The distances on the held-out images, and their bits per pixel in real bytes."""
    found = training.watch()
    found["estimated_bits_per_pixel"] = found.pop("bits_per_pixel")
    model = IntegerModel(training.recipe.groups, quantise(training.average.entropy_model))
    coder = LatentCoder(model, tables(training, _COUNTED_WATCHING))
    bits = pixels = 0
    for number in range(training.count, len(training.maps)):
        latent, size = training.latent(number)
        bits += 8 * len(coder.encode(latent, training.recipe.dead_zone))
        pixels += size[0] * size[1]
    found["bits_per_pixel"] = bits / pixels
    return found


def tables(training: Training, images: int):
    """Counts of the latents of some training images, by the averaged weights."""
    counts = Counts()
    model = IntegerModel(training.recipe.groups, quantise(training.average.entropy_model))
    for number in range(0, training.count, max(1, training.count // images)):
        counts.add(model, training.latent(number)[0], training.recipe.dead_zone)
    return counts.tables()
