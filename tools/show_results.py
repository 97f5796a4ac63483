#!/usr/bin/env python3
"""Print results as a table: one row a setting, clean first."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import sys

from common import Parser, add_results, command, read_results
from grammar import add_tables, check_outputs, write_json, write_table


def build_parser() -> Parser:
    """What to show."""
    parser = Parser(__doc__)
    add_results(parser)
    parser.add_argument(
        "--methods",
        action="store_true",
        help="what each setting sends and loses, its scopes side by side",
    )
    add_tables(parser, "a row a result, with what becomes of each level")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Read and print."""
    from detectron2_patch.analysis.tables import format_methods, format_settings

    check_outputs(
        {"--csv": args.csv, "--json": args.json},
        {"--csv": [".csv"], "--json": [".json"]},
        args.results,
    )
    results = read_results(args.results)
    table = format_methods if args.methods else format_settings
    shown = table(results)
    if args.csv or args.json:
        from detectron2_patch.report.records import make_groups
        from detectron2_patch.report.table import make_rows

        rows = make_rows(make_groups(results))
        write_table(rows, args.csv)
        write_json(rows, args.json)
    print(shown)


if __name__ == "__main__":
    sys.exit(main())
