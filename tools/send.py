#!/usr/bin/env python3
"""Send images: bitstreams of what a setting sends, a file each, or one stream for tools/receive.py.

The backbone and the encoder alone are built: no heads, no annotations.
"""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import logging
import sys
from collections.abc import Iterable
from typing import Any

from common import (
    GOES_ON,
    SETTING_FLAGS,
    Parser,
    add_image_flag,
    add_model_flags,
    add_overrides,
    add_setting_flags,
    build_detector,
    check_fitted,
    command,
    find_weights,
    open_config,
    open_fitted,
    read_setting,
)
from grammar import check_output_folder

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import SCOPES

EPILOG = """\
examples:
  send.py sent --rank 32 --bits 5 --send p2 p3 p4 p5 --fitted demo.npz     the demo's scenes
  send.py sent --image hevc:31 --images photographs                        a folder, as pictures
  send.py - --bits 4 --images a.jpg | ssh server receive.py -              to another machine
  ls *.jpg | send.py - --bits 4 --images - | receive.py -                  as the names come
"""
STREAM = "-"
logger = logging.getLogger("send")


def build_parser() -> argparse.ArgumentParser:
    """What is sent, how, and by which detector."""
    parser = Parser(__doc__, EPILOG)
    add = parser.add_argument
    add(
        "output", metavar="OUTPUT", help="a folder, new or begun by the same command, or - (stdout)"
    )
    add("--cr", metavar="RATIO", help="linear compress ratio of P2 … P6")
    add_setting_flags(parser)
    add_image_flag(parser)
    add(
        "--images",
        action="append",
        metavar="WHAT",
        help="an image, or a folder of them, or - for names on stdin; left out: --test-data, or "
        "DATASETS.TEST",
    )
    add_model_flags(parser)
    add_overrides(parser, shown=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv, SETTING_FLAGS, GOES_ON)


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked in seconds, then send."""
    args.num_gpus, args.scope = None, SCOPES[1]
    from detectron2_patch.utils.progress import progress
    from detectron2_patch.wire.sender import send_all
    from detectron2_patch.wire.sources import by_content

    if args.images and args.test_data:
        raise InputError("--images and --test-data are given; leave one of them out")
    if args.output != STREAM:
        check_output_folder(
            "OUTPUT", args.output, [one for one in args.images or () if one != STREAM]
        )
    fitted = open_fitted(args)
    setting = read_setting(args, fitted)
    name, cfg, device = open_config(args)
    dataset, sources = find_images(args, cfg)
    sender, header = make_sender(args, setting, fitted, (name, cfg, device), dataset)
    writer = open_writer(args.output, header)
    if isinstance(sources, list):
        if dataset is None and args.output != STREAM:
            sources = by_content(sources)
        sources = sources[check_begun(args.output, sources, writer) :]
    total = len(sources) if isinstance(sources, list) else None
    with progress(total=total, unit="image", desc="sending") as bar:
        for _ in send_all(sender, sources, writer, cfg.DATALOADER.NUM_WORKERS):
            bar.update()
    writer.close()
    tell_size(writer, setting, fitted)


def find_images(args: argparse.Namespace, cfg) -> tuple[Any, Iterable]:
    """The dataset, where it is one, and the images."""
    from detectron2_patch.data.catalog import open_dataset
    from detectron2_patch.wire.sources import as_they_come, of_dataset, of_paths

    if args.images == [STREAM]:
        return None, as_they_come(sys.stdin)
    if args.images:
        return None, of_paths(args.images)
    dataset = open_dataset(args.test_data, cfg.DATASETS.TEST, "DATASETS.TEST")
    return dataset, of_dataset(dataset)


def make_sender(args: argparse.Namespace, setting, fitted, where: tuple, dataset) -> tuple:
    """The sender and what it says of all images."""
    from detectron2_patch.codec.fitted import map_config
    from detectron2_patch.settings.halves import BACKBONE
    from detectron2_patch.weights.parts import identity
    from detectron2_patch.wire.manifest import Header
    from detectron2_patch.wire.sender import ImageSender, MapSender

    name, cfg, device = where
    of_dataset = () if dataset is None else (dataset.digest, dataset.content)
    if setting.image is not None:
        return ImageSender(setting.image), Header(setting.to_json(), None, None, *of_dataset)
    weights = find_weights(args, cfg)
    who = identity(weights)
    check_fitted(setting.treatments, fitted, cfg, who["sha256"], dataset)
    engine = build_detector(args, name, cfg, device, BACKBONE)
    engine.load_weights(weights)
    header = Header(setting.to_json(), who, map_config(cfg), *of_dataset)
    return MapSender(engine, setting, fitted), header


def open_writer(output: str, header):
    """Where the bitstreams go."""
    from detectron2_patch.wire.folder import FolderWriter
    from detectron2_patch.wire.stream import StreamWriter

    if output != STREAM:
        return FolderWriter(output, header)
    if sys.stdout.isatty():
        raise InputError("a terminal can't take bitstreams; pipe them to tools/receive.py -")
    return StreamWriter(sys.stdout.buffer, header)


def check_begun(output: str, sources: list, writer) -> int:
    """How many of the images are sent already: those that the folder's manifest begins with."""
    begun = getattr(writer, "entries", [])
    if len(begun) > len(sources) or not all(
        (one.id, one.file_name, one.source or source.digest)
        == (source.id, source.file_name, source.digest)
        for one, source in zip(begun, sources)
    ):
        raise InputError(
            f"{output} holds bitstreams of other images; choose another folder, or remove it"
        )
    if begun:
        logger.info("%d of %d images are there already", len(begun), len(sources))
    return len(begun)


def tell_size(writer, setting, fitted) -> None:
    """What was sent, in bytes."""
    from detectron2_patch.codec.transmission import side_bytes

    once = sum(side_bytes(setting.by_level(), fitted).values())
    logger.info(
        "%d images in %d bytes, and %d bytes of names and sizes beside them; %d bytes of fitted "
        "parts are sent once",
        writer.images,
        writer.nbytes,
        writer.overhead,
        once,
    )


if __name__ == "__main__":
    sys.exit(main())
