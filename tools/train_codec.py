#!/usr/bin/env python3
"""Train codecs of a detector's whole pyramid, one for each rate, from images without labels."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import dataclasses
import logging
import sys
from pathlib import Path

from common import (
    ROOT,
    Parser,
    add_model_flags,
    add_older,
    add_overrides,
    add_process_flags,
    find_weights,
    prepare_model,
    start,
)
from grammar import check_output_folder, whole

from detectron2_patch.errors import InputError

RECIPE = ROOT / "configs" / "codec" / "demo.yaml"
EPILOG = """\
examples:
  train_codec.py -o output/codecs                     the demo's detector
  train_codec.py -o output/codecs --resume            go on after a kill
  train_codec.py -o mine --recipe FILE --config-file FILE --data JSON IMAGES \\
      --lambda 1 3 MODEL.WEIGHTS FILE
Then train_net.py --eval-only --codec output/codecs/codec_1.safetensors measures one. No label is
used, but for the AP of held-out training images once a rate is finished. Images that are to be
evaluated (--test-data or DATASETS.TEST) are refused.
"""


def build_parser() -> argparse.ArgumentParser:
    """What to train on and how."""
    parser = Parser(__doc__, EPILOG)
    add = parser.add_argument
    add(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="where the codecs go, and the clean maps, checkpoint and metrics.json",
    )
    add("--recipe", default=RECIPE, metavar="YAML", help="how it is trained (the demo's)")
    add(
        "--data",
        nargs=2,
        metavar=("JSON", "IMAGES"),
        help="train on this COCO-format JSON and image folder instead of DATASETS.TRAIN",
    )
    add_older(parser, "--train-data", "data", nargs=2)
    add(
        "--lambda",
        dest="lambdas",
        metavar="L",
        help="weights of the distances against bits per pixel, one codec each (the recipe's); a "
        "larger one is nearer to the clean maps and takes more bits",
    )
    add(
        "--start",
        metavar="FILE",
        help="begin with this codec of the same detector, for other rates or with other images",
    )
    add("--resume", action="store_true", help="continue the training in DIR")
    add("--seed", type=whole(0), default=0, metavar="N", help="of everything that is drawn (0)")
    add_process_flags(parser)
    add_model_flags(parser)
    add_overrides(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return start(build_parser, run, __file__, argv, ["--lambda"])


def run(args: argparse.Namespace) -> None:
    """Check, make the clean maps, train, write."""
    from detectron2_patch.codec.learned.recipe import read_recipe

    recipe = read_recipe(args.recipe)
    if args.lambdas is not None:
        recipe = dataclasses.replace(recipe, lambdas=parse_lambdas(args.lambdas))
    folder = Path(args.output)
    checkpoint = _checkpoint(folder, args.resume)

    from detectron2_patch.data.catalog import open_dataset

    cfg, engine, test = prepare_model(args)
    train = open_dataset(args.data, cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    weights = find_weights(args, cfg, begin=True)
    engine.load_weights(weights)
    _train(args, recipe, folder, checkpoint, engine, weights, train, test)


def parse_lambdas(text: str) -> tuple[float, ...]:
    """The numbers of ``--lambda``.

    Raises:
        InputError: a word is no number above 0 or given twice, or there is none.
    """
    from detectron2_patch.settings.words import split_words

    words = split_words("--lambda", [text])
    try:
        found = tuple(float(word) for word in words if word.isascii() and "_" not in word)
    except ValueError:
        found = ()
    if len(set(found)) < len(words):
        found = ()
    if not found or not all(0 < one < float("inf") for one in found):
        raise InputError(f"--lambda is {text!r}; give numbers above 0, such as 1 3, each once")
    return found


def _checkpoint(folder: Path, resume: bool) -> Path | None:
    """The checkpoint to go on from.

    Raises:
        InputError: there is none to resume, or there is one and no ``--resume``.
    """
    from detectron2_patch.codec.learned.running import CHECKPOINT

    check_output_folder("-o", folder)
    path = folder / CHECKPOINT
    if resume and not path.is_file():
        raise InputError(f"--resume: there is no {path}; start without it")
    if path.is_file() and not resume:
        raise InputError(f"{path} is of an earlier training; --resume it, or give another folder")
    return path if resume else None


def _train(args, recipe, folder, checkpoint, engine, weights, train, test) -> None:
    import torch

    from detectron2_patch.codec.calibration import keys_apart
    from detectron2_patch.codec.fitted import backbone_digest, map_config
    from detectron2_patch.codec.learned.clean_maps import CleanMaps, views_of
    from detectron2_patch.codec.learned.file import read_codec
    from detectron2_patch.codec.learned.running import run as run_training
    from detectron2_patch.codec.learned.training import Training, check_batch, check_form
    from detectron2_patch.engines.frozen_heads import frozen_heads
    from detectron2_patch.utils.files import sha256

    heads = frozen_heads(engine, recipe.proposals)
    earlier = None if args.start is None else read_codec(args.start, "--start")
    if earlier is not None:
        check_form(recipe, earlier)
        earlier.check_detector(sha256(weights), map_config(engine.cfg))
        earlier.check_images([test.image_path(image) for image in test.images])
    paths = [train.image_path(image) for image in train.images]
    keys = keys_apart(paths, train, test)
    backbone = backbone_digest(engine.model)
    if earlier is not None:
        earlier.check_backbone(backbone)
    views = views_of(paths, keys, recipe.held_out, recipe.mirror)
    check_batch(recipe, len(views))
    maps = CleanMaps(folder / "maps" / backbone[:12], views, engine.levels)
    maps.check(recipe.crop)
    maps.make(engine, engine.cfg.DATALOADER.NUM_WORKERS, resumed=checkpoint is not None)
    channels = maps.channels()
    device = torch.device(str(engine.model.device))
    training = Training(recipe, heads, maps, channels, device, args.seed, earlier)
    if checkpoint is not None:
        training.load(checkpoint)
    meta = {
        "weights": sha256(weights),
        "config": map_config(engine.cfg),
        "backbone": backbone,
        "dataset": {"name": train.name, "digest": train.digest, "image_count": len(keys)},
        "images": keys,
        "channels": channels,
    }
    if earlier is not None:
        meta |= {"start": earlier.sha256, "images": sorted({*keys, *earlier.meta["images"]})}
    held_out = dataclasses.replace(train, images=train.images[-recipe.held_out :])
    run_training(training, folder, meta, HeldOut(engine, held_out).measure)


class HeldOut:
    """Says the AP of finished codecs on held-out training images, where they have labels."""

    def __init__(self, engine, images) -> None:
        self.engine, self.images = engine, images
        self.clean: list[float | None] = []

    def measure(self, path: Path) -> None:
        """Of the codec of a file, over its real bytes."""
        from detectron2_patch.utils.distributed import world_size

        images, annotations = self.images.images, self.images.annotations
        labelled = any(annotations[image["id"]] for image in images)
        if not labelled or len(images) < world_size():  # which each need one
            return
        if not self.clean:
            self.clean.append(self._ap([]))
        received = self._ap(["--codec", str(path)])
        if received is None:  # rank 0 has it
            return
        message = "%d held-out training images: AP %.2f, clean %.2f"
        logging.info(message, len(images), received, *self.clean)

    def _ap(self, words: list[str]) -> float | None:
        from detectron2_patch.pipeline import evaluate
        from detectron2_patch.settings.setting import Setting

        setting = Setting.parse(words, levels=self.engine.levels)
        done = evaluate(self.engine, self.images, setting)
        return None if done is None else done.results["bbox"]["AP"]


if __name__ == "__main__":
    sys.exit(main())
