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

import early  # noqa: F401  isort: skip

import argparse
import logging
import sys

from common import Parser, add_results, command, read_results
from grammar import check_outputs, write_json, write_table


def build_parser() -> Parser:
    """What to analyse."""
    parser = Parser(__doc__)
    add_results(parser)
    add = parser.add_argument
    add("-o", "--output", "--json", metavar="FILE", help="write the numbers as JSON, too")
    add("--csv", metavar="FILE", help="write them as CSV, a row a scope, size and level, too")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Analyse, write where that is asked for, and print."""
    from detectron2_patch.analysis.key_levels import key_levels
    from detectron2_patch.analysis.tables import format_key_levels

    flag = args.typed.get("output", "-o")
    check_outputs(
        {flag: args.output, "--csv": args.csv},
        {flag: [".json"], "--csv": [".csv"]},
        args.results,
    )
    analysis = key_levels(read_results(args.results))
    write_json(analysis, args.output, indent=2)
    write_table(rows(analysis), args.csv)
    if not analysis["replicates"]:
        logging.warning(
            "no intervals: not every combination has replicates of the same draw; the "
            "same sweep with --bootstrap 1000 adds them"
        )
    print(format_key_levels(analysis))


def rows(analysis: dict) -> list[dict]:
    """A row a scope, size and level: what it loses in each way, with the ends of its interval."""
    return [
        {
            "scope": scope,
            "size": size,
            "level": level,
            **{
                name if key == "value" else f"{name}_{key}": value
                for name, estimate in effects.items()
                for key, value in estimate.items()
            },
            "key": level in analysis["key"][scope][size],
        }
        for scope, sizes in analysis["scopes"].items()
        for size, levels in sizes.items()
        for level, effects in levels.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
