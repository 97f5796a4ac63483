#!/usr/bin/env python3
"""Print which pyramid levels the objects of a dataset use under a configuration."""

from __future__ import annotations

import argparse
import sys

from common import DEMO_CONFIG, told


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config-file",
        default=DEMO_CONFIG,
        metavar="FILE",
        help="detectron2 YAML: network size and anchors (the demo's)",
    )
    parser.add_argument(
        "--data",
        nargs=2,
        metavar=("JSON", "IMAGES"),
        help="COCO-format JSON and image folder instead of DATASETS.TEST",
    )
    args = parser.parse_args(argv)
    return told(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Count and print."""
    from detectron2_patch.analysis.level_shares import level_shares
    from detectron2_patch.config import load_cfg
    from detectron2_patch.data.catalog import open_dataset

    cfg = load_cfg(args.config_file)
    shares = level_shares(cfg, open_dataset(args.data, cfg.DATASETS.TEST, "DATASETS.TEST"))
    for kind, parts in shares.items():
        print(f"{kind:7}", "  ".join(f"{name} {share:6.1%}" for name, share in parts.items()))


if __name__ == "__main__":
    sys.exit(main())
