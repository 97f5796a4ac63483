#!/usr/bin/env python3
"""Pack results into one small .json.gz, which load_results reads like a folder of them."""

from __future__ import annotations

import early  # noqa: F401  isort: skip

import argparse
import logging
import os
import sys

from common import Parser, add_results, command, read_results
from grammar import check_outputs

from detectron2_patch.errors import InputError


def build_parser() -> Parser:
    """What to pack."""
    parser = Parser(__doc__)
    add_results(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the file to write; its name ends in .json.gz"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return command(build_parser, run, argv)


def run(args: argparse.Namespace) -> None:
    """Read all, write one."""
    from detectron2_patch.results.packing import SUFFIX, write_packed

    if args.output is None:
        *rest, last = args.results
        named = bool(rest) and last.endswith(SUFFIX)
        if not named or os.path.exists(last):
            guess = f", such as -o {last} to write over that" if named else ""
            raise InputError(f"no -o FILE{SUFFIX} to write to; give one{guess}")
        args.results, args.output = rest, last  # as earlier versions had it
    flag = args.typed.get("output", "-o")
    check_outputs({flag: args.output}, {flag: [SUFFIX]}, args.results)
    results = read_results(args.results)
    write_packed(results, args.output)
    logging.info("packed %d results into %s", len(results), args.output)


if __name__ == "__main__":
    sys.exit(main())
