#!/usr/bin/env python3
"""Fit principal directions, ranges and restorers to a detector's maps of training images."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from common import (
    add_model_flags,
    add_overrides,
    find_levels,
    find_weights,
    parse_args,
    prepare_model,
    told,
)

from detectron2_patch.errors import InputError

EPILOG = """\
examples:
  fit.py -o demo.npz                                  the demo's detector
  fit.py -o mine.npz --config-file FILE --train-data JSON IMAGES MODEL.WEIGHTS FILE
No label is used. Images that are to be evaluated (--test-data or DATASETS.TEST) are refused.
"""


def build_parser() -> argparse.ArgumentParser:
    """What to fit to."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-o", "--output", required=True, metavar="FILE", help="the .npz to write")
    add(
        "--train-data",
        nargs=2,
        metavar=("JSON", "IMAGES"),
        help="fit on this COCO-format JSON and image folder instead of DATASETS.TRAIN",
    )
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
    add("--images", type=int, default=200, metavar="N", help="how many of them (200)")
    add_model_flags(parser)
    add_overrides(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(build_parser(), argv, ["--send"])
    args.num_gpus = None
    return told(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Check, fit, write."""
    if args.images < 1:
        raise InputError(f"--images is {args.images}; give a whole number from 1 on")

    from detectron2_patch.codec.calibration import fit
    from detectron2_patch.codec.fitted import write_fitted
    from detectron2_patch.data.catalog import open_dataset
    from detectron2_patch.results.file import check_folder
    from detectron2_patch.settings.parsing import parse_send

    levels = find_levels(args)
    sends = None
    if args.send is not None:
        sends = [parse_send(words.split(), levels=levels) for words in args.send.split(",")]
    check_folder(Path(args.output).absolute().parent)
    cfg, engine, test = prepare_model(args)
    train = open_dataset(args.train_data, cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
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
