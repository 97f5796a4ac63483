#!/usr/bin/env python3
"""Make figures, a page that explores them, and a table from results."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import sys

from common import Parser, add_results, command
from grammar import check_once, check_output_folder

EPILOG = """\
examples:
  report.py results/demo                            the shipped grid, to report/index.html
  report.py results keys.json costs.json -o mine    with what key_levels.py and cost.py wrote
Results of several datasets, models or engines get a report each, in folders of their own.
"""


def build_parser() -> Parser:
    """What to report on."""
    parser = Parser(__doc__, EPILOG)
    add_results(parser, "results, key-level analyses and costs: JSON, .json.gz, or folders of them")
    parser.add_argument(
        "-o", "--output", default="report", metavar="DIR", help="where the report goes (report)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Make the report; print where it is."""
    from detectron2_patch.report.make import make_report

    check_once(args.results)
    check_output_folder(args.typed.get("output", "-o"), args.output, args.results)
    print(make_report(args.results, args.output))


if __name__ == "__main__":
    sys.exit(main())
