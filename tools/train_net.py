#!/usr/bin/env python3
"""Evaluate (or train) a detector whose feature pyramid is degraded level by level."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import logging
import shlex
import sys
from pathlib import Path

from common import (
    SHIPPED,
    Parser,
    add_common_flags,
    add_image_flag,
    add_overrides,
    add_setting_flags,
    check_classes,
    check_fitted,
    describer,
    find_weights,
    open_fitted,
    prepare,
    read_setting,
    start,
)

from detectron2_patch.errors import InputError
from detectron2_patch.settings.levels import SCOPES

EPILOG = """\
examples:
  train_net.py --cr 1 1 1 1 1 4                   the demo, P6 at ratio 4
  train_net.py --scope pyramid --cr 1 1 max 1 1   the demo, P4 reduced to 1x1 for both heads
  train_net.py --scope pyramid --restore origin   the study's proposal: P3 and P5 sent
  train_net.py --scope pyramid --bits 3           all levels sent, 3 bits an element
  train_net.py --config-file configs/COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml \\
      --cr 1 1 1 1 4 MODEL.WEIGHTS detectron2://COCO-Detection/\
faster_rcnn_X_101_32x8d_FPN_3x/139173657/model_final_68b088.pkl
"""
logger = logging.getLogger("train_net")


def build_parser() -> argparse.ArgumentParser:
    """detectron2's flags, and those of the patch."""
    parser = Parser(__doc__, EPILOG, data="--test-data JSON IMAGES (--train-data to train on)")
    add = parser.add_argument
    add(
        "--cr",
        metavar="RATIO",
        help="linear compress ratio of each level, P2 … P6 of most detectors: five numbers >= 1 or "
        "'max' (1x1); of six, the first is 1 and names no level",
    )
    add(
        "--scope",
        choices=SCOPES,
        help="who reads the maps as received: the RPN alone (rpn, the default) or the box head too "
        "(pyramid, the default with --image and codecs of the pyramid)",
    )
    add_setting_flags(parser)
    add_image_flag(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--eval-only", action="store_true", help="evaluate; the default")
    mode.add_argument("--train", action="store_true", help="train first, then evaluate")
    add(
        "--train-data",
        nargs=2,
        metavar=("JSON", "IMAGES"),
        help="train on this COCO-format JSON and image folder instead of DATASETS.TRAIN",
    )
    add(
        "--train-damaged",
        action="store_true",
        help="with --train: the pyramid is degraded while training, too, as --cr and --scope say",
    )
    add(
        "--train-heads",
        action="store_true",
        help="with --train: the heads alone learn, from MODEL.WEIGHTS on; the maps stay as they "
        "are, and with them codecs and fitted parts, by which --train-damaged may damage them then",
    )
    add_common_flags(parser)
    add_overrides(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return start(build_parser, run, __file__, argv)


def run(args: argparse.Namespace) -> None:
    """Check everything that can be checked in seconds, then train and evaluate."""
    from detectron2_patch import pipeline

    if args.train_data and not args.train:
        raise InputError(
            "--train-data is given without --train, which alone reads it; add --train, or give "
            "what to evaluate on as --test-data"
        )
    fitted = open_fitted(args)
    setting = read_setting(args, fitted)
    if args.train_heads and not args.train:
        raise InputError("--train-heads is given without --train; add it, or leave both out")
    if args.train_damaged:
        check_damage(args, setting)
    if args.train and setting.uses_fit and not args.train_heads:
        raise InputError(
            "--train makes new weights, to which --fitted isn't fitted; train first, "
            "then tools/fit.py, then evaluate; or train the heads alone: --train-heads"
        )
    cfg, engine, dataset = prepare(args, training=args.train)
    weights = train(args, setting, fitted, cfg, engine) if args.train else find_weights(args, cfg)
    check_fitted(setting.treatments, fitted, cfg, weights, dataset)
    engine.load_weights(weights)
    done = pipeline.evaluate(engine, dataset, setting, cfg.DATALOADER.NUM_WORKERS, fitted)
    if done is not None:  # rank 0 has it
        given = {
            **vars(args),
            "cr": (args.cr or " ".join("1" for _ in setting.levels)).split(),
            "scope": setting.scope,
        }
        describe = describer(given, cfg, engine, dataset, weights)
        report(
            describe(
                setting=setting, results=done.results, payload=done.payload, seconds=done.seconds
            ),
            args.results_dir,
        )


def check_damage(args: argparse.Namespace, setting) -> None:
    """Refuse what no training can be damaged by."""
    if not args.train:
        raise InputError(
            "--train-damaged is given without --train; an evaluation is damaged by "
            "--cr and --scope alone: leave it out"
        )
    if args.train_heads:
        return
    if setting.uses_fit or any(not hasattr(one, "ratio") or one.bits for one in _sent(setting)):
        raise InputError(
            "--train-damaged takes --cr, --send and --restore; a training has no "
            "gradient through --bits and codecs, and nothing is fitted before it: leave these "
            "out, or train the heads alone: --train-heads"
        )


def _sent(setting) -> list:
    from detectron2_patch.settings.treatments import is_sent

    return [one for one in setting.treatments if is_sent(one)]


def train(args: argparse.Namespace, setting, fitted, cfg, engine) -> Path:
    """Train on ``DATASETS.TRAIN`` or ``--train-data``; returns the last checkpoint.

    With ``--train-damaged`` the heads learn from the pyramid that they will be evaluated on, with
    ``--train-heads`` nothing else learns.
    """
    from contextlib import nullcontext

    from detectron2_patch.data.catalog import open_dataset
    from detectron2_patch.patch import patch_pyramid
    from detectron2_patch.training.trainer import freeze_backbone
    from detectron2_patch.weights import resolve_weights

    dataset = open_dataset(args.train_data, cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    check_classes(dataset, cfg)
    if args.train_heads:
        start = find_weights(args, cfg, begin=True)
        check_fitted(setting.treatments, fitted, cfg, start)
        engine.load_weights(start)
        freeze_backbone(engine.model)
    else:
        start = resolve_weights(cfg.MODEL.WEIGHTS) if cfg.MODEL.WEIGHTS else None
    damage = nullcontext()
    if args.train_damaged:  # a resumed training may have nothing left to do
        damage = patch_pyramid(engine.model, setting, fitted=fitted, must_run=False)
    with damage:
        return engine.train(dataset, start, resume=args.resume)


def setting_of(result: dict):
    """The setting of a result."""
    from detectron2_patch.settings.setting import Setting

    return Setting.from_json(result["setting"])


def clean_command(args: dict) -> str:
    """The line that evaluates the clean pyramid of the same detector on the same data."""
    words = ["python", "tools/train_net.py"]
    for name in ("config_file", "engine", "device", "num_gpus", "test_data", "results_dir"):
        value = args.get(name)
        if value not in (None, "auto"):
            given = value if isinstance(value, (list, tuple)) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, given)]
    words += ["--resume"] if args.get("resume") else []
    return shlex.join([*words, *args.get("opts", ())])


def report(result: dict, folder: str) -> None:
    """Write the JSON; print the AP table to stdout, and what the clean pyramid had."""
    from detectron2_patch.analysis.tables import format_change, format_sent, format_table
    from detectron2_patch.results.file import find_clean, write_result

    path = write_result(result, folder)
    print(format_table(result["results"]))
    print(f"\n{format_sent(result)}")
    if not setting_of(result).is_clean:
        clean = find_clean(result, folder)
        if clean is None and result["args"]["config_file"] is None:  # the demo's is shipped
            clean = find_clean(result, SHIPPED / "demo")
        if clean is not None:
            print(format_change(result["results"], clean["results"]))
        else:
            print(f"no clean result in {folder} to compare with; make it with\n")
            print(f"  {clean_command(result['args'])}")
    logger.info("wrote %s", path)


if __name__ == "__main__":
    sys.exit(main())
