#!/usr/bin/env python3
"""Print results as a table: one row a setting, clean first."""

from __future__ import annotations

import argparse
import sys

from common import add_results, read_results, told


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_results(parser)
    parser.add_argument(
        "--methods",
        action="store_true",
        help="what each setting sends and loses, its scopes side by side",
    )
    args = parser.parse_intermixed_args(argv)
    return told(lambda: run(args))


def run(args: argparse.Namespace) -> None:
    """Read and print."""
    from detectron2_patch.analysis.tables import format_methods, format_settings

    table = format_methods if args.methods else format_settings
    print(table(read_results(args.results)))


if __name__ == "__main__":
    sys.exit(main())
