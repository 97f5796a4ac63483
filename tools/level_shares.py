#!/usr/bin/env python3
"""Print which pyramid levels the objects of a dataset use under a configuration."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import sys

from common import DEMO_CONFIG, Parser, add_levels, command
from grammar import add_tables, check_outputs, write_json, write_table


def build_parser() -> Parser:
    """What to count."""
    parser = Parser(__doc__, test_data="--data JSON IMAGES")
    parser.add_argument(
        "--config-file",
        default=DEMO_CONFIG,
        metavar="FILE",
        help="detectron2 YAML: network size and anchors (the demo's)",
    )
    add_levels(parser)
    parser.add_argument(
        "--data",
        nargs=2,
        metavar=("JSON", "IMAGES"),
        help="COCO-format JSON and image folder instead of DATASETS.TEST",
    )
    add_tables(parser, "the shares")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Count and print."""
    from detectron2_patch.analysis.level_shares import level_shares
    from detectron2_patch.config import load_cfg
    from detectron2_patch.data.catalog import open_dataset

    check_outputs(
        {"--csv": args.csv, "--json": args.json},
        {"--csv": [".csv"], "--json": [".json"]},
        [*(args.data or ()), args.config_file],
    )
    cfg = load_cfg(args.config_file)
    dataset = open_dataset(args.data, cfg.DATASETS.TEST, "DATASETS.TEST")
    shares = level_shares(cfg, dataset, args.levels and args.levels.split())
    write_json(shares, args.json)
    write_table(
        [
            {"of": kind, "what": name, "share": share}
            for kind, parts in shares.items()
            for name, share in parts.items()
        ],
        args.csv,
    )
    for kind, parts in shares.items():
        print(f"{kind:7}", "  ".join(f"{name} {share:6.1%}" for name, share in parts.items()))


if __name__ == "__main__":
    sys.exit(main())
