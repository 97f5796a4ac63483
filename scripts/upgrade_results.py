#!/usr/bin/env python3
"""Rewrite packed results in today's schema, and say what changed.

    python scripts/upgrade_results.py results/*/*.json.gz          what would change
    python scripts/upgrade_results.py --write results/*/*.json.gz  rewritten, too

Nothing but the costs may differ: settings, AP, replicates and all else are compared.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path

from detectron2_patch.results import packing
from detectron2_patch.results.file import load_file
from detectron2_patch.results.schema import SCHEMA

COSTS = ("total_bytes", "bits_per_pixel", "smaller")


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="packed results")
    parser.add_argument("--write", action="store_true", help="rewrite them")
    args = parser.parse_args()
    for file in args.files:
        before = packing.unpack(json.loads(gzip.decompress(file.read_bytes())))
        after = load_file(file)
        changed = [pair for pair in zip(before, after) if differs(*pair)]
        print(f"{file}: {len(after)} results, schema {SCHEMA}; {told(changed)}")
        if args.write:
            packing.write_packed(after, file)
    return 0


def differs(old: dict, new: dict) -> bool:
    """Whether the costs differ.

    Raises:
        SystemExit: something else does.
    """
    kept = [{k: v for k, v in one.items() if k not in ("schema", "payload")} for one in (old, new)]
    payloads = [
        {k: v for k, v in (one["payload"] or {}).items() if k not in COSTS} for one in (old, new)
    ]
    if kept[0] != kept[1] or payloads[0] != payloads[1]:
        sys.exit(f"more than the costs would change: {old['setting']}")
    return any((old["payload"] or {}).get(key) != (new["payload"] or {}).get(key) for key in COSTS)


def told(changed: list[tuple[dict, dict]]) -> str:
    """How much the totals rose."""
    if not changed:
        return "no cost changes"
    rises = [new["payload"]["total_bytes"] / old["payload"]["total_bytes"] for old, new in changed]
    return (
        f"{len(changed)} totals now count what is sent once, "
        f"{100 * (min(rises) - 1):.2f} to {100 * (max(rises) - 1):.2f} % more"
    )


if __name__ == "__main__":
    sys.exit(main())
