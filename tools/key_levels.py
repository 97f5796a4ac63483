#!/usr/bin/env python3
"""Which levels of the pyramid matter for which object sizes, with 95 % confidence intervals.

Reads the 32 combinations of clean and lost ("max", 1x1) levels of one scope or both, as made by

  sweep.py --grid 1 max --scope rpn pyramid --bootstrap 1000 --results-dir FOLDER

and prints, in points of AP, APs, APm and APl, what each level loses alone, what it loses when all
others are lost already, and its Shapley value: the mean of what it loses over all orders in which
the levels can go. A level is key for a size when it surely costs more than a fifth of what all five
cost: the 95 % interval of its Shapley value minus that fifth lies above 0.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys

from common import add_results, read_results, told


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_results(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write the numbers as JSON, too")
    args = parser.parse_intermixed_args(argv)
    return told(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Analyse, write where that is asked for, and print."""
    from detectron2_patch.analysis.key_levels import key_levels
    from detectron2_patch.analysis.tables import format_key_levels
    from detectron2_patch.utils.files import atomic_write

    analysis = key_levels(read_results(args.results))
    if args.output is not None:
        text = json.dumps(analysis, indent=2, allow_nan=False) + "\n"
        with atomic_write(args.output) as file:
            file.write(text.encode("ascii"))
    if not analysis["replicates"]:
        logging.warning(
            "no intervals: not every combination has replicates of the same draw; the "
            "same sweep with --bootstrap 1000 adds them"
        )
    print(format_key_levels(analysis))


if __name__ == "__main__":
    sys.exit(main())
