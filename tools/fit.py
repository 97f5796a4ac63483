#!/usr/bin/env python3
"""Fit principal components, ranges and restorers to a detector's maps of training images."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import logging
import sys

from common import (
    Parser,
    add_model_flags,
    add_older,
    add_overrides,
    command,
    find_levels,
    find_weights,
    prepare_model,
)
from grammar import check_outputs, whole

from detectron2_patch.errors import InputError

EPILOG = """\
examples:
  fit.py -o demo.npz                                  the demo's detector
  fit.py -o mine.npz --config-file FILE --data JSON IMAGES MODEL.WEIGHTS FILE
No label is used. Images that are to be evaluated (--test-data or DATASETS.TEST) are refused.
"""


def build_parser() -> argparse.ArgumentParser:
    """What to fit to."""
    parser = Parser(__doc__, EPILOG)
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="FILE", help="the .npz to write")
    add(
        "--data",
        nargs=2,
        metavar=("JSON", "IMAGES"),
        help="fit on this COCO-format JSON and image folder instead of DATASETS.TRAIN",
    )
    add_older(parser, "--train-data", "data", nargs=2)
    add(
        "--kernel",
        type=int,
        choices=(1, 3),
        default=3,
        help="restorers that see 1x1 or 3x3 elements around a place (3); 1 is several times faster",
    )
    add(
        "--send",
        metavar="LEVEL",
        help="fit restorers for these sent levels alone, such as p3 p5, or 'p3 p5, p3 p4 p5' "
        "(every subset); worthwhile for maps of 256 channels",
    )
    add("--images", type=whole(1), default=200, metavar="N", help="how many of them (200)")
    add_model_flags(parser)
    add_overrides(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv, ["--send"])


def parse_sends(text: str, levels: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Subsets of the detector's levels, with commas between: ``p3 p5, p3 p4 p5``.

    Raises:
        InputError: a word that is no level, or a subset of none or of all.
    """
    from detectron2_patch.settings.parsing import parse_send
    from detectron2_patch.settings.words import split_words

    sends = [split_words("--send", [words]) for words in text.split(",")]
    found = [parse_send(words, levels=levels) for words in sends]
    if levels in found:
        raise InputError(f"--send {text} leaves no level to restore; leave one out")
    return found


def run(args: argparse.Namespace) -> None:
    """Check, fit, write."""
    flag = args.typed["output"]
    check_outputs({flag: args.output}, {flag: [".npz"]}, [args.config_file or ""])

    from detectron2_patch.codec.calibration import fit
    from detectron2_patch.codec.fitted import write_fitted
    from detectron2_patch.data.catalog import open_dataset

    levels = find_levels(args)
    sends = None if args.send is None else parse_sends(args.send, levels)
    args.num_gpus = None
    cfg, engine, test = prepare_model(args)
    train = open_dataset(args.data, cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    weights = find_weights(args, cfg)
    engine.load_weights(weights)
    fitted = fit(
        engine, weights, train, test, args.images, cfg.DATALOADER.NUM_WORKERS, args.kernel, sends
    )
    write_fitted(fitted, args.output)
    logging.info(
        "wrote %s, fitted on %d images of %s", args.output, len(fitted.meta["images"]), train.name
    )


if __name__ == "__main__":
    sys.exit(main())
