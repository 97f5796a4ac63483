#!/usr/bin/env python3
"""Receive what tools/send.py sent: bitstreams to detections, a line of JSON an image.

The heads and the decoder alone are built, also from a checkpoint without the backbone (made by
tools/export_weights.py --part heads), and no image is read. Where the images themselves were sent,
the whole detector is built.
"""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from common import (
    RUNS,
    SETTING_FLAGS,
    Parser,
    add_image_flag,
    add_model_flags,
    add_overrides,
    add_setting_flags,
    build_detector,
    check_classes,
    check_fitted,
    command,
    describer,
    find_weights,
    need_fitted,
    open_config,
    open_fitted,
    read_setting,
)
from grammar import check_outputs

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import SCOPES, span

EPILOG = """\
examples:
  receive.py sent --fitted demo.npz                          a folder of tools/send.py
  receive.py sent --fitted demo.npz --annotations demo_val   their AP, as train_net.py gives it
  receive.py - < stream > detections.jsonl                   as images arrive
"""
STREAM = "-"
logger = logging.getLogger("receive")


def build_parser() -> argparse.ArgumentParser:
    """What is received, and by which detector."""
    parser = Parser(__doc__, EPILOG)
    add = parser.add_argument
    add("input", metavar="INPUT", help="a folder that tools/send.py made, or - (stdin)")
    add(
        "--annotations",
        metavar="JSON",
        help="COCO-format JSON of the images, or a dataset's name: their AP, and a result",
    )
    add(
        "--detections",
        metavar="FILE",
        help="the detections, whole at the end; left out: on stdout as images arrive, unless "
        "--annotations are given",
    )
    add("--results-dir", default=RUNS, metavar="DIR", help=f"where the result goes ({RUNS})")
    add("--cr", metavar="RATIO", help="with the flags below: what must have been sent")
    add_setting_flags(parser)
    add_image_flag(parser)
    add_model_flags(parser)
    add_overrides(parser, shown=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv, SETTING_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked in seconds, then receive."""
    args.num_gpus, args.scope = None, SCOPES[1]
    from detectron2_patch.results.file import check_folder
    from detectron2_patch.utils.files import atomic_write

    started = time.perf_counter()
    if args.annotations:
        check_folder(args.results_dir)
    elif "results_dir" in args.typed:
        raise InputError(
            "--results-dir takes a result, which --annotations ask for; give them, too"
        )
    if args.test_data:
        raise InputError("--test-data is no flag of this command; give --annotations JSON")
    check_outputs({"--detections": args.detections}, {}, [args.input, args.fitted or ""])
    fitted = open_fitted(args)
    reader = open_reader(args.input)
    setting = agreed_setting(args, reader.header, fitted)
    cfg, engine, weights = prepare_heads(args, reader.header, setting, fitted)
    receiver = make_receiver(engine, setting, fitted)
    if args.detections:
        with atomic_write(args.detections) as file:
            received = receive(receiver, reader, file, cfg)
    else:
        received = receive(receiver, reader, None if args.annotations else sys.stdout.buffer, cfg)
    if args.annotations:
        where = (cfg, engine, weights)
        evaluate(args, where, reader.header, setting, fitted, received, receiver.traffic, started)


def open_reader(source: str):
    """Where the bitstreams come from."""
    from detectron2_patch.wire.folder import FolderReader
    from detectron2_patch.wire.stream import StreamReader

    if source != STREAM:
        return FolderReader(source)
    if sys.stdin.isatty():
        raise InputError("a terminal sends no bitstreams; pipe them from tools/send.py -")
    return StreamReader(sys.stdin.buffer)


def agreed_setting(args: argparse.Namespace, header, fitted):
    """What was sent; the flags, where some are given, say the same and know the files."""
    from detectron2_patch.settings.words import all_flags

    setting = header.parsed()
    if any(getattr(args, flag[2:].replace("-", "_"), None) is not None for flag in all_flags()):
        given = read_setting(args, fitted)
        if given != setting:
            raise InputError(
                f"the bitstreams were sent with {setting.words!r}, and {given.words!r} is given; "
                "leave these flags out, but for files"
            )
        setting = given
    need_fitted(setting.treatments, fitted)
    if setting.fitted and fitted.sha256 != setting.fitted:
        raise InputError(
            f"the bitstreams were sent with the fitted file {setting.fitted[:12]}, and --fitted is "
            f"{fitted.sha256[:12]}; give the sender's"
        )
    for one in set(setting.treatments):
        getattr(one, "check", lambda: None)()
    return setting


def prepare_heads(args: argparse.Namespace, header, setting, fitted) -> tuple:
    """The configuration, the engine with what a receiver needs of the model, and its weights."""
    from detectron2_patch.codec.fitted import map_config
    from detectron2_patch.settings.halves import HEADS, WHOLE

    name, cfg, device = open_config(args)
    weights = find_weights(args, cfg)
    if setting.image is None:
        check_weights(weights, header.weights)
        if header.config != map_config(cfg):
            raise InputError(
                "the bitstreams are of a detector with another INPUT or backbone configuration; "
                "give the sender's --config-file and overrides"
            )
        check_fitted(setting.treatments, fitted, cfg, header.weights["sha256"])
    engine = build_detector(args, name, cfg, device, HEADS if setting.image is None else WHOLE)
    if setting.image is None and engine.levels != setting.levels:
        raise InputError(
            f"the bitstreams are of {span(setting.levels)}, and this detector has "
            f"{span(engine.levels)}; give the sender's --config-file and overrides"
        )
    engine.load_weights(weights)
    return cfg, engine, weights


def check_weights(weights: Path, theirs: dict[str, str] | None) -> None:
    """Make sure that the heads are of the sender's detector."""
    from detectron2_patch.weights.parts import identity, same_detector

    if theirs is None:
        raise InputError("the bitstreams don't say of which detector they are; ask for them again")
    same = same_detector(identity(weights), theirs)
    if same is None:
        raise InputError(
            f"{weights} has no backbone and the sender's file no heads, and nothing tells that "
            "they belong together; cut both by tools/export_weights.py --part"
        )
    if not same:
        raise InputError(
            f"the bitstreams are of another detector (weights {theirs['sha256'][:12]}) than "
            f"{weights}; give the sender's, or its heads"
        )


def make_receiver(engine, setting, fitted):
    """The receiver of what was sent."""
    from detectron2_patch.wire.receiver import ImageReceiver, MapReceiver

    if setting.image is not None:
        return ImageReceiver(engine, setting.image)
    return MapReceiver(engine, setting, fitted)


def receive(receiver, reader, file, cfg) -> list[tuple]:
    """Entry and detections of each image; ``file`` gets a line of each as it is there."""
    from detectron2_patch.utils.progress import progress
    from detectron2_patch.wire.receiver import receive_all

    received = []
    total = len(reader.entries) if hasattr(reader, "entries") else None
    with progress(total=total, unit="image", desc="receiving") as bar:
        for entry, found in receive_all(receiver, reader):
            received.append((entry, found))
            if file is not None:
                file.write(json.dumps(line_of(entry, found)).encode() + b"\n")
                file.flush()
            bar.update()
    return received


def line_of(entry, found: dict[str, Any]) -> dict[str, Any]:
    """An image's detections under JSON's types: boxes are x0 y0 x1 y1 in the image's pixels."""
    line = {"image_id": entry.id, "file_name": entry.file_name}
    for key, value in found.items():
        if key == "masks":
            line[key] = [{**one, "counts": one["counts"].decode("ascii")} for one in value]
        else:
            line[key] = value.tolist()
    return line


def evaluate(
    args: argparse.Namespace, where: tuple, header, setting, fitted, received, traffic, started
) -> None:
    """Write the result; print the table."""
    from detectron2_patch.analysis.tables import format_sent, format_table
    from detectron2_patch.results.file import write_result
    from detectron2_patch.wire.evaluating import evaluate_received, open_annotations

    cfg, engine, weights = where
    dataset = open_annotations(args.annotations, [entry for entry, _ in received], header.content)
    check_classes(dataset, cfg)
    if header.dataset not in (None, dataset.digest):
        raise InputError(
            f"the images that were sent are of another dataset than {dataset.json_file}; give the "
            "sender's annotations"
        )
    done = evaluate_received(engine, dataset, setting, received, traffic, fitted, started)
    sha256 = None if header.weights is None else header.weights["sha256"]
    given = {**vars(args), "cr": (args.cr or "1 1 1 1 1").split()}
    describe = describer(given, cfg, engine, dataset, weights, sha256)
    result = describe(
        setting=setting, results=done.results, payload=done.payload, seconds=done.seconds
    )
    path = write_result(result, args.results_dir)
    print(format_table(result["results"]))
    print(f"\n{format_sent(result)}")
    logger.info("wrote %s", path)


if __name__ == "__main__":
    sys.exit(main())
