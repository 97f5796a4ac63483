#!/usr/bin/env python3
"""Print which pyramid levels the objects of a dataset use under a configuration."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config-file",
        default=ROOT / "configs" / "demo.yaml",
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

    from detectron2_patch.analysis.level_shares import level_shares
    from detectron2_patch.config import load_cfg
    from detectron2_patch.data.catalog import open_dataset
    from detectron2_patch.errors import InputError

    try:
        cfg = load_cfg(args.config_file)
        shares = level_shares(cfg, open_dataset(args.data, cfg.DATASETS.TEST, "DATASETS.TEST"))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for kind, parts in shares.items():
        print(f"{kind:7}", "  ".join(f"{name} {share:6.1%}" for name, share in parts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
